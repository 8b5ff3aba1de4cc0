"""`nfbench board`."""

from __future__ import annotations

from pathlib import Path

from nfbench.harness.dataset import task as find_task
from nfbench.harness.errors import NfbenchError, NotFound, did_you_mean
from nfbench.harness.record import write_text
from nfbench.harness.registry import registry, resolve


def show_board(task: str | None, runs: Path, form: str, output: Path | None) -> None:
    """Print the board, or write it to a file.

    Raises:
        NfbenchError: no records, an unknown form, or a file that cannot be written.
    """
    forms = ("text", "markdown", "latex", "csv", "json", "html")
    if form not in forms:
        raise NotFound(f"--as {form!r} is not a form of the board.", did_you_mean(form, forms, "forms"))
    if task is not None and task not in registry().tasks and Path(task).exists():
        task = find_task(task).name
    boards = resolve("nfbench.leaderboards.board:read_boards")(runs, task)
    if form == "html":
        path = output or Path("board.html")
        resolve("nfbench.leaderboards.page:write_page")(boards, path)
        print(f"Wrote {path}.")
        return
    text = resolve("nfbench.leaderboards.table:render")(boards, form)
    if output is None:
        print(text)
        return
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        write_text(output, text if text.endswith("\n") else text + "\n")
    except OSError as error:
        raise NfbenchError(f"{output} cannot be written: {error.strerror}.", "Choose another -o file.") from error
    print(f"Wrote {output}.")
