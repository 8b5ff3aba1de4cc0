"""`nfbench convert`: a dataset of one format written in another, and what the copy lacks."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, overload

from nfbench.harness.dataset import Loader, detect, loader, opened, scene_name
from nfbench.harness.errors import NfbenchError, Unsupported
from nfbench.harness.losses import losses
from nfbench.harness.registry import FormatSpec, find, registry
from nfbench.harness.scene import Points, Scene, Views
from nfbench.harness.watcher import Watcher


def convert(
    source: Path, destination: Path, to: str, format: str | None = None, watcher: Watcher | None = None
) -> list[Path]:
    """Write every scene of a dataset in another format; the folders that were written.

    Formats of views get every split of a scene, and its sparse cloud, true surface, box and frame where they can hold
    them: one scene goes right into `destination`, several each into a folder of its name there. To a format of shapes
    all scenes go into the one dataset `destination`, those to learn from into its list of these.

    What was written is read back, and `watcher` is told, a line each, what of the source the copy lacks.

    Raises:
        DataMissing: the source is of no known format.
        NfbenchError: the destination is there already, or is the source.
        NotFound: no such format.
        Unsupported: the format cannot be written, or holds something that the source does not have.
    """
    spec, folders = detect(source, format)
    target = find(registry().formats, to, "format")
    writer: Any = loader(target)
    if not hasattr(writer, "write"):
        raise Unsupported(f"The format {to} is read and not written.", "nfbench list formats says what each holds.")
    if destination.exists() and (destination.is_file() or any(destination.iterdir())):
        raise NfbenchError(f"{destination} is there already.", "Name a folder that is not there, or an empty one.")
    lacking: dict[str, list[str]] = {}
    if "views" in writer.given:
        written = _views(spec, folders, destination, target, lacking)
    else:
        written = _shapes(spec, source, folders, destination, target, lacking)
    for loss, names in lacking.items():
        told = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        (watcher or Watcher()).line(f"In {to} format {loss}: {told}.")
    return written


def _views(
    spec: FormatSpec, folders: list[Path], destination: Path, target: FormatSpec, lacking: dict[str, list[str]]
) -> list[Path]:
    """Write each scene to a folder of its own."""
    reader, writer = loader(spec), loader(target)
    written = []
    for folder in folders:
        name = scene_name(folder, reader)
        place = destination if len(folders) == 1 else destination / name
        scene, views, _ = opened(folder, reader)
        if not views:
            what = f"{folder} ({spec.name}) holds no views, which {target.name} is made of."
            raise Unsupported(what, "Choose another.")
        _write_views(writer, place, scene, views)
        copy, copied, _ = opened(place, writer)
        for loss in losses(scene, views, copy, copied):
            lacking.setdefault(loss, []).append(name)
        written.append(place)
    return written


def _write_views(writer: Any, place: Path, scene: Scene, views: Mapping[str, Views]) -> None:  # noqa: ANN401  # a module
    """Write views, and what of the rest of their scene the format holds."""
    points = scene.surface if isinstance(scene.surface, Points) else None
    extra = {"frame": scene.frame, "box": scene.box, "cloud": scene.given.cloud, "surface": points}
    wanted = inspect.signature(writer.write).parameters
    writer.write(place, views, **{key: value for key, value in extra.items() if key in wanted})


def _shapes(
    spec: FormatSpec,
    source: Path,
    folders: list[Path],
    destination: Path,
    target: FormatSpec,
    lacking: dict[str, list[str]],
) -> list[Path]:
    """Write all scenes into one dataset, by lists where both formats have them."""
    reader: Any = loader(spec)
    writer: Any = loader(target)
    learned = [folder for folder in getattr(reader, "training", lambda _: [])(source) if folder not in folders]
    lists = {"test": _Read(reader, folders), "train": _Read(reader, learned)}
    if "split" in inspect.signature(writer.write).parameters:
        for split, scenes in lists.items():
            if len(scenes):
                writer.write(destination, scenes, split)
    else:
        writer.write(destination, _Read(reader, folders + learned))
        if learned:
            lacking["the list of shapes to learn from is lost"] = [target.name]
    written = [*writer.scenes(destination), *getattr(writer, "training", lambda _: [])(destination)]
    copies = {str(writer.name(place)): place for place in dict.fromkeys(written)}
    for folder in folders + learned:
        name = scene_name(folder, reader)
        if name not in copies:
            lacking.setdefault("the name of a shape is another", []).append(name)
        place = copies.get(name) or (written[0] if len(written) == len(folders) == 1 else None)
        if place is not None:
            for loss in losses(reader.read(folder), reader.splits(folder), writer.read(place), {}):
                lacking.setdefault(loss, []).append(name)
    return written


class _Read(Sequence[Scene]):
    """Scenes that are read when asked for, and not kept."""

    def __init__(self, reader: Loader, folders: Sequence[Path]) -> None:
        self.reader, self.folders = reader, folders

    def __len__(self) -> int:
        return len(self.folders)

    @overload
    def __getitem__(self, index: int) -> Scene: ...
    @overload
    def __getitem__(self, index: slice) -> _Read: ...
    def __getitem__(self, index: int | slice) -> Scene | _Read:
        if isinstance(index, slice):
            return _Read(self.reader, self.folders[index])
        read: Callable[[Path], Scene] = self.reader.read
        return read(self.folders[index])
