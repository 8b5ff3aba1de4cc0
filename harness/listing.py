"""`nfbench list`: what there is by name, without importing any of it."""

from __future__ import annotations

import textwrap
from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from nfbench.harness.console import dumps
from nfbench.harness.errors import NotFound, did_you_mean
from nfbench.harness.metric import METRICS
from nfbench.harness.registry import registry

if TYPE_CHECKING:
    from nfbench.harness.column import ImageColumn, SurfaceColumn
    from nfbench.harness.protocol import Protocol

Row = dict[str, Any]


def methods() -> list[Row]:
    """Name, summary, needs, gives, presets, paper, origin of every method."""
    return [asdict(spec) for spec in registry().methods.values()]


def tasks() -> list[Row]:
    """Name, summary and protocol of every task."""
    return [asdict(spec) for spec in registry().tasks.values()]


def formats() -> list[Row]:
    """Name, summary and protocol of every on-disk format, what its scenes give, and the inputs that can be chosen."""
    return [
        asdict(spec) | {"inputs": tuple(dict.fromkeys(spec.given + spec.inputs))}
        for spec in registry().formats.values()
    ]


def protocols() -> list[Row]:
    """Every protocol with its paragraph, source, choices, columns, penalties and sampling floor.

    A column has its unit, its direction, its choices, its `penalty` for a lost item and its `floor`: `mean` and `std`
    of two drawings of the truth itself, or the `reason` why there is none; None for images. The row's `floor` says of
    what shape and number of points, and `how` to compute it for a protocol that is not nfbench's own.
    """
    from nfbench.harness.protocol import protocol

    return [_protocol_row(protocol(name)) for name in sorted(registry().protocols)]


def datasets() -> list[Row]:
    """Every dataset with its licence, version, format, scenes, splits, citation, page and how it is got."""
    return [asdict(spec) for spec in registry().datasets.values()]


def metrics() -> list[Row]:
    """Every metric with direction, unit and range."""
    return [asdict(metric) for metric in METRICS.values()]


def schema() -> Row:
    """The JSON Schema of a protocol's TOML file, as published in `protocols/schema.json`.

    It cannot tell what hangs together, such as a primary that is no column: reading the file does.
    """
    from nfbench.harness.protocol import Protocol

    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Protocol.model_json_schema()}


KINDS: dict[str, Callable[[], list[Row]]] = {
    "methods": methods,
    "tasks": tasks,
    "formats": formats,
    "protocols": protocols,
    "datasets": datasets,
    "metrics": metrics,
}
SCHEMA = "schema"
_SHOWN = (
    *("needs", "gives", "given", "inputs", "presets", "paper", "protocol", "source", "unit", "better"),
    *("access", "licence", "format", "splits", "scenes", "citation", "page"),
)  # keys of a row that have a line of their own


def text(what: str, as_json: bool) -> str:
    """One kind, or all of them, as text or JSON; the schema of protocols, which is always JSON, only by its name.

    Raises:
        NotFound: no such kind.
    """
    if what == SCHEMA:
        return dumps(schema())
    if what and what not in KINDS:
        kinds = [*KINDS, SCHEMA]
        raise NotFound(f"There is nothing called {what!r} to list.", did_you_mean(what, kinds, "kinds"))
    chosen = {name: rows for name, rows in KINDS.items() if not what or name == what}
    if as_json:
        data = {name: rows() for name, rows in chosen.items()}
        return dumps(data[what] if what else data)
    return "\n\n".join("\n".join([name, *(_row(row) for row in rows())]) for name, rows in chosen.items())


def _protocol_row(read: Protocol) -> Row:
    from nfbench.harness.sampling_floor import HOW, shipped_floors

    floor: Row | None = None
    if read.surface is not None:
        floor = dict(shipped_floors().get(read.id, {"columns": {}, "how": HOW.format(read.id)}))
    floors = {} if floor is None else floor.pop("columns")
    return {
        "name": read.id,
        "summary": " ".join(read.summary.split()),
        "source": read.source,
        "primary": read.primary,
        "image": None if read.image is None else read.image.model_dump(exclude={"columns"}),
        "surface": None if read.surface is None else read.surface.model_dump(exclude={"columns"}),
        "floor": floor,
        "columns": {
            name: {
                "unit": read.unit(name),
                "better": read.metric(name).better,
                "penalty": read.failure.get(name),
                "floor": floors.get(name),
                **_choices(column),
            }
            for name, column in read.columns().items()
        },
    }


def _choices(column: ImageColumn | SurfaceColumn) -> Row:
    """What the column leaves to choose: a variant of SSIM other than `gaussian` has a window of its own."""
    from nfbench.harness.column import Ssim

    fixed = isinstance(column, Ssim) and column.variant != "gaussian"
    choices: Row = column.model_dump(exclude={"window", "size", "sigma", "covariance"} if fixed else None)
    return choices


def _row(row: Row) -> str:
    lines = [f"  {row['name']}", _wrap(str(row["summary"]))]
    for key in _SHOWN:
        value = row.get(key)
        if value:
            shown = ", ".join(value) if isinstance(value, tuple) else str(value)
            lines.append(_wrap(f"{key}: {shown}"))
    if isinstance(row.get("columns"), dict):
        columns = ", ".join(f"{c} [{v['unit']}, {v['better']} is better]" for c, v in row["columns"].items())
        lines.append(_wrap(f"columns: {columns}"))
        lines.append(_wrap(f"ranks by: {row['primary']}"))
    if row.get("floor"):
        lines.append(_wrap(f"sampling floor: {floor_told(row)}"))
    return "\n".join(lines)


def floor_told(row: Row) -> str:
    """The sampling floor of the column that ranks in a row of `protocols`, in words; where it has none, of another.

    >>> floor = {"shape": "sphere", "radius": 0.5, "unit": "mm", "points": [2500, 100000], "seeds": 5}
    >>> columns = {"accuracy": {"floor": {"mean": 0.0028014, "std": 6.2e-06, "reason": None}}}
    >>> floor_told({"floor": floor, "primary": "accuracy", "columns": columns})
    'accuracy 0.0028014 ± 6.2e-06; 5 seeds of 2,500 against 100,000 points on a sphere of radius 0.5 [mm]'
    """
    about, columns = row["floor"], row["columns"]
    if "how" in about:
        return str(about["how"])
    floors = {name: column["floor"] or {"mean": None, "reason": "of surfaces only"} for name, column in columns.items()}
    with_one = [name for name, floor in floors.items() if floor["mean"] is not None]
    named = [row["primary"]] if row["primary"] in with_one else [row["primary"], *with_one[:1]]
    told = [_mean_told(name, floors[name]) for name in named]
    if with_one:
        ours, theirs = about["points"]
        where = f"{about['shape']} of radius {about['radius']:g} [{about['unit']}]"
        count = "a gridded mesh" if ours is None else f"{ours:,}"
        told.append(f"{about['seeds']} seeds of {count} against {theirs:,} points on a {where}")
    return "; ".join(told)


def _mean_told(name: str, floor: Row) -> str:
    if floor["mean"] is None:
        return f"{name} has none ({floor['reason']})"
    return f"{name} {floor['mean']:.5g} ± {floor['std']:.2g}"


def _wrap(text: str) -> str:
    return textwrap.fill(text, 100, initial_indent="      ", subsequent_indent="        ", break_on_hyphens=False)
