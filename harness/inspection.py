"""`nfbench inspect`: what a folder is, and what is wrong with it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nfbench.harness.console import dumps
from nfbench.harness.dataset import Loader, detect, loader, scene_name
from nfbench.harness.errors import NfbenchError
from nfbench.harness.scene import Views


def inspect(path: Path, format: str | None = None) -> dict[str, Any]:
    """Format, scenes with their splits, and problems, in the fixed form of `nfbench inspect --json`.

    A scene that cannot be opened is a problem and does not hide the others.

    Raises:
        DataMissing: no such folder, or no known format in it.
    """
    spec, folders = detect(path, format)
    module = loader(spec)
    scenes, problems = [], []
    for folder in folders:
        try:
            scenes.append(_scene(module, folder))
        except NfbenchError as error:
            problems.append(f"{error.message} {error.hint}".strip())
    return {"format": spec.name, "protocol": spec.protocol, "scenes": scenes, "problems": problems}


def _scene(module: Loader, folder: Path) -> dict[str, Any]:
    scene = module.read(folder)
    notes = getattr(module, "notes", None)
    return {
        **({"notes": notes(folder)} if notes is not None and notes(folder) else {}),
        "name": scene_name(folder, module),
        "splits": {name: _split(views) for name, views in module.splits(folder).items()},
        "box": scene.box.tolist(),
        "unit": scene.unit,
    }


def _split(views: Views) -> dict[str, Any]:
    sizes = sorted({tuple(size) for size in views.cameras.size.tolist()})
    near_far = views.cameras.near_far
    return {
        "views": len(views),
        "size": list(sizes[0]),
        **({"sizes": [list(size) for size in sizes]} if len(sizes) > 1 else {}),
        "near_far": None if near_far is None else [float(near_far[:, 0].min()), float(near_far[:, 1].max())],
    }


def text(path: Path, format: str | None, as_json: bool) -> str:
    """What `inspect` finds, as text or JSON."""
    found = inspect(path, format)
    if as_json:
        return dumps(found)
    lines = [f"format    {found['format']} (scored under {found['protocol']})"]
    for scene in found["scenes"]:
        lines.append(f"scene     {scene['name']}")
        lines += [f"  note    {note}" for note in scene.get("notes", ())]
        for name, split in scene["splits"].items():
            width, height = split["size"]
            others = f" and {len(split['sizes']) - 1} other sizes" if "sizes" in split else ""
            lines.append(f"  {name:<8}{split['views']} views, {width}x{height} pixels{others}")
        low, high = scene["box"]
        unit = "scene units, their length unknown" if scene["unit"] is None else f"units of {scene['unit']} m"
        lines.append(f"  box     {low} to {high} in {unit}")
    lines.append(f"problems  {len(found['problems']) or 'none'}")
    return "\n".join(lines + [f"  {problem}" for problem in found["problems"]])
