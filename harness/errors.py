"""Errors that a user can mend: the message names the file and the item, the hint names the mend."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class NfbenchError(Exception):
    """Something the user can mend. The command line prints `message` and `hint`, no traceback, and exits with 2."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message if not hint else f"{message}\n{hint}")
        self.message = message
        self.hint = hint


class NotFound(NfbenchError):
    """A name that nothing goes by: a method, task, format, protocol, preset or field."""


class DataMissing(NfbenchError):
    """A file or an item that should be there is not."""


class DataCorrupt(NfbenchError):
    """A file is there and is not what it should be."""


class ContractBroken(NfbenchError):
    """A method, loader or protocol did not keep its side of the contract."""


class Unsupported(NfbenchError):
    """A sound request that this method, task or machine cannot serve."""


class RecordInvalid(NfbenchError):
    """A record that cannot be read or written."""


def did_you_mean(name: str, known: Iterable[str], what: str = "") -> str:
    """One sentence for a hint: the nearest known names, or all of them when none is near.

    >>> did_you_mean("nerv", ["nerf", "srn"])
    'Did you mean nerf?'
    >>> did_you_mean("zzz", ["nerf", "srn"], "methods")
    'Known methods: nerf, srn.'
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=3, cutoff=0.6)
    if near:
        return f"Did you mean {' or '.join(near)}?"
    return f"Known {what or 'names'}: {', '.join(names) or 'none'}."
