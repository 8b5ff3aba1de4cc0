"""`nfbench convert`: a dataset of one format written in another."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

from nfbench.harness.dataset import detect, loader, scene_name
from nfbench.harness.errors import NfbenchError, Unsupported
from nfbench.harness.registry import find, registry


def convert(source: Path, destination: Path, to: str, format: str | None = None) -> list[Path]:
    """Write every scene of a dataset in another format; the folders that were written.

    One scene goes right into `destination`, several each into a folder of its name there. Formats of views get every
    split, formats of shapes the whole scene.

    Raises:
        DataMissing: the source is of no known format.
        NfbenchError: the destination is there already, or is the source.
        NotFound: no such format.
        Unsupported: the format cannot be written, or holds something that the source does not have.
    """
    spec, folders = detect(source, format)
    reader = loader(spec)
    target = find(registry().formats, to, "format")
    writer: Any = loader(target)
    if not hasattr(writer, "write"):
        raise Unsupported(f"The format {to} is read and not written.", "nfbench list formats says what each holds.")
    if destination.exists() and (destination.is_file() or any(destination.iterdir())):
        raise NfbenchError(f"{destination} is there already.", "Name a folder that is not there, or an empty one.")
    written = []
    for folder in folders:
        place = destination if len(folders) == 1 else destination / scene_name(folder, reader)
        if "views" in writer.given:
            views = reader.splits(folder)
            if not views:
                raise Unsupported(f"{folder} ({spec.name}) holds no views, which {to} is made of.", "Choose another.")
            scene = reader.read(folder)
            wanted = inspect.signature(writer.write).parameters
            extra = {"frame": scene.frame, "box": scene.box}  # what a format says of a scene beside its views
            writer.write(place, views, **{key: value for key, value in extra.items() if key in wanted})
        else:
            writer.write(place, [reader.read(folder)])
        written.append(place)
    return written
