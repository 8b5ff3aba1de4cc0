import pytest

from nfbench.harness.record import MethodEntry, Record, Score, TaskEntry, run_folder, write_record
from nfbench.leaderboards.board import read_boards

UNITS = {
    "psnr": ("dB", "higher"),
    "ssim": ("1", "higher"),
    "lpips_vgg": ("1", "lower"),
    "iou": ("1", "higher"),
    "fscore@r0.01": ("1", "higher"),
    "chamfer_l1_mean": ("longest edge of the bounding box", "lower"),
}
SURFACE = ("iou", "fscore@r0.01", "chamfer_l1_mean")


@pytest.fixture
def put(tmp_path):
    """Writes one record under tmp_path; `scores` maps a column to the values of its items.

    With `penalties` the penalised means are told, each of the scores' `lost` items counting as the column's penalty.
    """

    def write(method, scores=None, *, task="t/x", scene="a", scenes=("a",), seed=0, hash="h1", **fields):
        named = {
            c: {"mesh.ply" if c in SURFACE else f"v{i}": float(v) for i, v in enumerate(vs)}
            for c, vs in (scores or {}).items()
        }
        summary = {
            c: Score(mean=sum(vs.values()) / len(vs), unit=UNITS[c][0], better=UNITS[c][1], count=len(vs))
            for c, vs in named.items()
        }
        lost = fields.pop("lost", 0)
        for c, penalty in fields.get("penalties", {}).items():
            if c in summary:
                values = [*named[c].values(), *[penalty] * lost]
                summary[c] = summary[c].model_copy(update={"penalised": sum(values) / len(values), "lost": lost})
        entry = {k: fields.pop(k) for k in ("preset", "budget") if k in fields}
        kind = fields.pop("kind", "method")
        version = fields.pop("task_version", "1")
        defaults = {"protocol": "nerf-synthetic@1", "primary": "psnr", "status": "ok", "scores": summary}
        defaults["expected"] = max((len(vs) for vs in named.values()), default=0)
        record = Record(
            method=MethodEntry(name=method, hash=hash, origin=kind, **entry),
            task=TaskEntry(name=task, version=version, scenes=list(scenes)),
            scene=scene,
            seed=seed,
            **defaults | fields,
        )
        folder = run_folder(tmp_path, task, method, scene, seed, hash)
        write_record(folder, record, named)
        return folder

    return write


@pytest.fixture
def only(tmp_path):
    """Reads the one board of a task that the records under tmp_path make."""

    def read(task=None):
        (found,) = read_boards(tmp_path, task)
        return found

    return read
