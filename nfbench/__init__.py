"""nfbench, the neural-field bench: data, reference methods and named scoring protocols for neural fields of 3D.

The four rooms are real folders beside this package (`harness`, `loaders`, `baselines`, `leaderboards`) and are imported
as `nfbench.harness` and so on, through links in this folder; in a checkout whose file system has no links the same
folders are found beside it.
"""

from pathlib import Path

__version__ = "0.1.0"

_ROOMS = ("harness", "loaders", "baselines", "leaderboards")
_here = Path(__file__).parent
if not all((_here / room).is_dir() for room in _ROOMS):  # a checkout without symbolic links
    __path__.append(str(_here.parent))
