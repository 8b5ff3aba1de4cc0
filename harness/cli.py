"""The command line. It starts without torch: every command imports what it needs when it is called."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from nfbench.harness.errors import NfbenchError

app = typer.Typer(
    name="nfbench",
    help="The neural-field bench: run methods, score predictions under named protocols, rank the records.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,  # plain help starts in half the time
    context_settings={"help_option_names": ["-h", "--help"]},
)

RunsOption = Annotated[Path, typer.Option("--runs", metavar="DIR", help="Where records are kept.")]
FormatOption = Annotated[
    str | None,
    typer.Option("--format", metavar="F", help="The format of a TASK that is a path, where it is not plain."),
]
ProtocolOption = Annotated[
    str | None,
    typer.Option("--protocol", metavar="ID", help="Measure under this protocol, or the one in a .toml file."),
]
GivenOption = Annotated[
    str | None,
    typer.Option("--given", metavar="KIND", help="What scenes give, of several inputs: views, cloud, samples, voxels."),
]
DeviceOption = Annotated[str, typer.Option("--device", metavar="auto|cpu|cuda", help="Where methods and LPIPS run.")]
WeightsOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--lpips-weights", metavar="FILE", help="AlexNet or VGG weights for LPIPS (else the torch hub cache)."
    ),
]
DataOption = Annotated[Path, typer.Option("--to", metavar="DIR", help="Where downloaded datasets are kept.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON.")]
QuietOption = Annotated[bool, typer.Option("--quiet", "-q", help="Print results and errors only.")]
TaskArgument = Annotated[
    str, typer.Argument(metavar="TASK", help="A registered task or the path of a scene or dataset.")
]


@app.command()
def run(
    methods: Annotated[
        str, typer.Argument(metavar="METHOD[,METHOD...]", help="Registered names, or file.py:Class, with commas.")
    ],
    task: TaskArgument,
    preset: Annotated[str | None, typer.Option(metavar="P", help="A named config: paper, tiny, ...")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Set one field of the config.")
    ] = None,
    seeds: Annotated[
        list[int] | None, typer.Option("--seed", metavar="N", min=0, max=2**32 - 1, help="Seed; may be repeated.")
    ] = None,
    test_every: Annotated[
        int, typer.Option(metavar="N", help="Measure every N-th test view only: a sub-task with its own id.")
    ] = 1,
    budget: Annotated[
        str, typer.Option(metavar="120s|2000steps", help="For learning and fitting, not rendering.")
    ] = "",
    device: DeviceOption = "auto",
    runs: RunsOption = Path("runs"),
    format: FormatOption = None,
    protocol: ProtocolOption = None,
    lpips_weights: WeightsOption = None,
    skip_bad: Annotated[
        bool, typer.Option("--skip-bad", help="Leave out scenes that do not open; rows are then not ranked.")
    ] = False,
    given: GivenOption = None,
    curve: Annotated[
        str, typer.Option(metavar="10s,60s", help="Measure the field at these times of fitting, into log.jsonl.")
    ] = "",
    tensorboard: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Write what methods report for TensorBoard, too.")
    ] = None,
    checkpoint: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Use this saved or imported checkpoint in place of training.")
    ] = None,
    quiet: QuietOption = False,
) -> None:
    """Run methods on a task: learn, fit, predict to disk, score, record. The same command again resumes."""
    from nfbench.harness.commands.run import run_methods

    run_methods(
        methods.split(","),
        task,
        preset=preset,
        settings=settings or [],
        seeds=seeds or [0],
        test_every=test_every,
        budget=budget,
        device=device,
        runs=runs,
        format=format,
        protocol=protocol,
        lpips_weights=lpips_weights or [],
        quiet=quiet,
        skip_bad=skip_bad,
        given=given,
        curve=curve,
        tensorboard=tensorboard,
        checkpoint=checkpoint,
    )


@app.command()
def score(
    predictions: Annotated[
        Path,
        typer.Argument(
            metavar="PREDICTIONS", help="A folder with NAME.png and mesh.ply, a run's folder, or one mesh or cloud."
        ),
    ],
    task: Annotated[
        str,
        typer.Argument(
            metavar="TASK|TRUTH",
            help="A registered task, the path of a dataset, or plain truth: a folder of images, a mesh, a point cloud.",
        ),
    ],
    protocol: ProtocolOption = None,
    json: JsonOption = False,
    partial: Annotated[bool, typer.Option("--partial", help="Score what is there; the row is not ranked.")] = False,
    test_every: Annotated[int, typer.Option(metavar="N", help="The sub-task of every N-th test view.")] = 1,
    submit: Annotated[str, typer.Option(metavar="NAME", help="Keep the scores as records of a method NAME.")] = "",
    device: DeviceOption = "auto",
    runs: RunsOption = Path("runs"),
    format: FormatOption = None,
    lpips_weights: WeightsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Score predictions that are on disk, from any language or framework."""
    from nfbench.harness.commands.score import score_predictions

    score_predictions(
        predictions,
        task,
        protocol=protocol,
        as_json=json,
        partial=partial,
        test_every=test_every,
        submit=submit,
        device=device,
        runs=runs,
        format=format,
        lpips_weights=lpips_weights or [],
        quiet=quiet,
    )


@app.command("explain-gap")
def explain_gap(
    predictions: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS", help="A folder with NAME.png and mesh.ply, or a run's folder.")
    ],
    task: TaskArgument,
    reported: Annotated[str, typer.Option(metavar="psnr=31.0,ssim=.947", help="The numbers to explain.")],
    protocol: ProtocolOption = None,
    json: JsonOption = False,
    top: Annotated[int, typer.Option(metavar="N", min=1, help="How many rows to show.")] = 8,
    test_every: Annotated[int, typer.Option(metavar="N", help="The sub-task of every N-th test view.")] = 1,
    seeds: Annotated[int, typer.Option(metavar="K", min=1, help="How often points are drawn on surfaces.")] = 3,
    format: FormatOption = None,
    lpips_weights: WeightsOption = None,
    quiet: QuietOption = False,
) -> None:
    """Say which conventions could lie behind reported numbers: each is measured, and ranked by how near it comes."""
    from nfbench.harness.gap_text import text

    print(
        text(
            predictions,
            task,
            reported,
            protocol=protocol,
            as_json=json,
            top=top,
            test_every=test_every,
            seeds=seeds,
            format=format,
            lpips_weights=lpips_weights or [],
            quiet=quiet,
        )
    )


@app.command()
def turntable(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="The folder of a run, with record.json.")],
    output: Annotated[
        Path, typer.Option("-o", "--output", metavar="FILE", help="The film: .webp, .gif, .png (animated) or .mp4.")
    ],
    task: Annotated[str, typer.Option(metavar="TASK", help="Where the run's task was a path: that path.")] = "",
    what: Annotated[
        str, typer.Option(metavar="A,B,...", help="Some of colour, depth, normal, opacity.")
    ] = "colour,depth,normal,opacity",
    frames: Annotated[int, typer.Option(metavar="N", min=1, help="Frames in one turn.")] = 60,
    pixels: Annotated[int, typer.Option(metavar="N", min=8, help="Width and height of each picture.")] = 256,
    method: Annotated[str, typer.Option(metavar="FILE.py:CLASS", help="Where the method was of a file.")] = "",
    device: DeviceOption = "auto",
    format: FormatOption = None,
    quiet: QuietOption = False,
) -> None:
    """Film a fitted scene on a turntable: colour, depth, normals, opacity, as far as its field gives them."""
    from nfbench.harness.commands.turntable import film_run

    film_run(
        run,
        output,
        task=task,
        format=format,
        method=method,
        frames=frames,
        pixels=pixels,
        what=what,
        device=device,
        quiet=quiet,
    )


@app.command()
def board(
    task: Annotated[
        str | None, typer.Argument(metavar="[TASK]", help="One task, a path, or a prefix; all without.")
    ] = None,
    runs: RunsOption = Path("runs"),
    form: Annotated[
        str, typer.Option("--as", metavar="text|markdown|latex|csv|json|html", help="How it is written.")
    ] = "text",
    output: Annotated[Path | None, typer.Option("-o", "--output", metavar="FILE", help="Write here.")] = None,
) -> None:
    """Rank the records: a table, or one static web page with the renders beside the truth."""
    from nfbench.harness.commands.board import show_board

    show_board(task, runs, form, output)


@app.command("list")
def list_(
    what: Annotated[str, typer.Argument(metavar="[methods|tasks|formats|protocols|datasets|metrics]")] = "",
    json: JsonOption = False,
) -> None:
    """List what nfbench knows by name, installed packages included."""
    from nfbench.harness.listing import text

    print(text(what, json))


@app.command()
def download(
    name: Annotated[str, typer.Argument(metavar="NAME", help="A dataset, or NAME/SCENE; nfbench list datasets.")],
    to: DataOption = Path("data"),
    source: Annotated[
        Path | None, typer.Option("--from", metavar="ARCHIVE", help="Take this file of your own instead.")
    ] = None,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Accept the licence.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Fetch a dataset: licence shown first, resumed where it stopped, checked, unpacked safely."""
    from nfbench.harness.console import watching
    from nfbench.harness.registry import find, registry, resolve

    dataset, _, scene = name.partition("/")
    spec = find(registry().datasets, dataset, "dataset")
    order = resolve("nfbench.loaders.download:order")(resolve(spec.target)(spec.name), scene, to, source)
    print(order.terms())
    if not yes and not (sys.stdin.isatty() and typer.confirm("Do you accept the licence?")):
        raise NfbenchError("The licence is not accepted.", "Read it above, and add --yes.")
    with watching(quiet) as watcher:
        done = order.carry_out(watcher)
    print("\n".join(done))


@app.command("import-checkpoint")
def import_checkpoint(
    method: Annotated[str, typer.Argument(metavar="METHOD", help="A registered method.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A checkpoint as the original code saves it.")],
    output: Annotated[Path, typer.Option("-o", "--output", metavar="DIR", help="A folder to be made.")],
    preset: Annotated[str, typer.Option(metavar="P", help="The config that the networks have.")] = "paper",
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="FIELD=VALUE", help="Set one field of the config.")
    ] = None,
    task: Annotated[
        str | None, typer.Option(metavar="TASK", help="The scene of a method that is trained on one scene.")
    ] = None,
    scene: Annotated[str | None, typer.Option(metavar="NAME", help="Which scene of it, where it has several.")] = None,
    format: FormatOption = None,
) -> None:
    """Turn a checkpoint of a paper's original code into one that nfbench run --checkpoint takes."""
    from nfbench.harness.commands.import_checkpoint import import_checkpoint as made

    made(method, file, output, preset, settings or [], task, scene, format)


@app.command()
def inspect(
    path: Annotated[Path, typer.Argument(metavar="PATH", help="A scene or dataset folder.")],
    json: JsonOption = False,
    check: Annotated[
        bool, typer.Option("--check", help="Decode every file, project known points; 2 is returned for problems.")
    ] = False,
    preview: Annotated[
        Path | None, typer.Option(metavar="FILE.png", help="Draw the cameras, the box, points and a few images.")
    ] = None,
    format: FormatOption = None,
) -> None:
    """Say what a folder is: format, scenes, splits, views, sizes, box, problems."""
    from nfbench.harness.inspection import inspect, rendered

    found = inspect(path, format, check)
    print(rendered(found, json), flush=True)
    if preview is not None:
        from nfbench.harness.preview import write_preview

        write_preview(path, preview, format)
    if check and found["problems"]:
        many = len(found["problems"])
        raise NfbenchError(f"{path} has {many} problem{'s' if many > 1 else ''}.", "The report above names each.")


@app.command()
def convert(
    source: Annotated[Path, typer.Argument(metavar="SRC", help="A scene or dataset folder.")],
    destination: Annotated[Path, typer.Argument(metavar="DST", help="A folder to be made.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="The format to write: nfbench list formats.")],
    format: FormatOption = None,
) -> None:
    """Write a dataset in another format."""
    from nfbench.harness.conversion import convert
    from nfbench.harness.watcher import Watcher

    written = convert(source, destination, to, format, Watcher(line=print))
    print(f"Wrote {len(written)} scene{'s' if len(written) > 1 else ''} in {to} format: {destination}.")


@app.command()
def prepare(
    meshes: Annotated[Path, typer.Argument(metavar="MESHES", help="A mesh, or a folder with meshes at any depth.")],
    destination: Annotated[Path, typer.Argument(metavar="OUT", help="The folder of the dataset.")],
    to: Annotated[str, typer.Option("--to", metavar="FORMAT", help="onet, deepsdf, imnet, ..., blender, srn, nsvf.")],
    split: Annotated[str, typer.Option(metavar="NAME[,NAME]", help="The lists that shapes go into.")] = "test",
    seed: Annotated[int, typer.Option(metavar="N", min=0, help="Of all drawings.")] = 0,
    views: Annotated[int, typer.Option(metavar="N", min=1, help="Training views of a rendered set.")] = 100,
    pixels: Annotated[int, typer.Option(metavar="N", min=8, help="Width and height of a rendered view.")] = 400,
    jobs: Annotated[int, typer.Option(metavar="N", min=1, help="Processes side by side.")] = 1,
    skip_bad: Annotated[bool, typer.Option("--skip-bad", help="Leave out meshes that cannot be read.")] = False,
    quiet: QuietOption = False,
) -> None:
    """Make training sets of shape methods, or rendered views, from any meshes. The same command again resumes."""
    from nfbench.harness.commands.prepare import prepare_meshes

    prepare_meshes(meshes, destination, to, split, seed, views, pixels, jobs, skip_bad, quiet)


@app.command()
def check(
    target: Annotated[str, typer.Argument(metavar="TARGET", help="A method (name or file.py:Class) or a protocol.")],
    device: DeviceOption = "auto",
) -> None:
    """Run the contract on a method or a protocol and say in words what is missing."""
    from nfbench.harness.commands.check import check_target

    check_target(target, device)


@app.command()
def doctor(
    data: Annotated[Path, typer.Option(metavar="DIR", help="Where datasets were downloaded to.")] = Path("data"),
) -> None:
    """Say what this installation has and lacks: packages, devices, LPIPS weights, plug-ins, cache, datasets."""
    from nfbench.harness.doctor import text

    print(text(data))


def main() -> None:
    """The console script: 0 when all went well, 2 for what the user can mend, 1 (with a traceback) for a bug."""
    try:
        app()
    except NfbenchError as error:
        print(f"nfbench: {error.message}", file=sys.stderr)
        if error.hint:
            print(f"  {error.hint}", file=sys.stderr)
        sys.exit(2)
    except BrokenPipeError:
        sys.exit(0)


if __name__ == "__main__":
    main()
