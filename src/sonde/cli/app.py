"""The commands and their options. Bodies live beside this file and are imported when a command runs."""

# ruff: noqa: D103, B006 - a command's docstring is its help, written for the person at the terminal; typer copies lists

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sonde.cli.options import (
    BatchSize,
    Compile,
    Decay,
    DespitePrivacy,
    Device,
    Download,
    DryRun,
    Encoding,
    Epochs,
    GoOn,
    High,
    Json,
    Kind,
    Low,
    Metric,
    Microbatch,
    Name,
    Net,
    NoBaselines,
    OnBad,
    Own,
    Parallel,
    Patience,
    Precision,
    Pruner,
    Quiet,
    RangeTest,
    Rate,
    Read,
    RecipeFile,
    Results,
    Resume,
    Runs,
    Search,
    SearchTime,
    Seed,
    Seeds,
    Sensitive,
    Set,
    Several,
    Size,
    Steps,
    Stream,
    Target,
    Task,
    Test,
    Time,
    TrainBest,
    TrialEpochs,
    Trials,
    TrialSteps,
    Val,
    With,
    option,
)
from sonde.cli.words import Command

app = typer.Typer(
    name="sonde",
    help="Train a model on your data, and measure it before you trust it.",
    epilog="Begin with: sonde train digits       An error's traceback: --debug",
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)


def _version(asked: bool) -> None:
    if asked:
        from sonde import __version__

        print(f"sonde {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Train a model on your data, and measure it before you trust it."""


@app.command(cls=Command, epilog="Example: sonde train people.csv --target income --epochs 10")
def train(
    context: typer.Context,
    data: Several = [],
    target: Target = None,
    sensitive: Sensitive = "",
    kind: Kind = [],
    task: Task = None,
    on_bad: OnBad = "fail",
    encoding: Encoding = None,
    size: Size = None,
    read: Read = [],
    test: Test = None,
    val: Val = None,
    stream: Stream = None,
    download: Download = False,
    net: Net = None,
    with_: With = [],
    set_: Set = [],
    recipe: RecipeFile = None,
    batch_size: BatchSize = None,
    lr: Rate = None,
    weight_decay: Decay = None,
    seed: Seed = None,
    epochs: Epochs = None,
    steps: Steps = None,
    time: Time = None,
    patience: Patience = None,
    device: Device = None,
    precision: Precision = None,
    microbatch: Microbatch = None,
    compile_: Compile = False,
    parallel: Parallel = None,
    name: Name = None,
    output_dir: Runs = Path("runs"),
    no_baselines: NoBaselines = False,
    dry_run: DryRun = False,
    resume: Resume = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on your data, measure the result, write a report.

    DATA is a folder of images (one folder per class, or with a table of labels), a CSV, TSV, Parquet, npz or idx
    file, or the name of a data set (sonde data lists them). Several of one form are learned in turn, a stage each,
    and the report says what was kept of each. Options may also be written epochs=10.
    """
    from sonde.cli import training

    given = dict(locals())
    training.command(given, given.pop("context").obj or [])


@app.command(cls=Command, epilog="Example: sonde tune digits --lr    or    sonde tune digits --trials 20")
def tune(
    data: Several = [],
    target: Target = None,
    sensitive: Sensitive = "",
    kind: Kind = [],
    task: Task = None,
    on_bad: OnBad = "fail",
    encoding: Encoding = None,
    size: Size = None,
    read: Read = [],
    test: Test = None,
    val: Val = None,
    download: Download = False,
    net: Net = None,
    with_: With = [],
    set_: Set = [],
    recipe: RecipeFile = None,
    batch_size: BatchSize = None,
    weight_decay: Decay = None,
    seed: Seed = None,
    trials: Trials = None,
    time: SearchTime = None,
    search: Search = [],
    metric: Metric = None,
    pruner: Pruner = None,
    resume: GoOn = False,
    train_best: TrainBest = False,
    lr: RangeTest = False,
    low: Low = None,
    high: High = None,
    seeds: Seeds = None,
    epochs: TrialEpochs = None,
    steps: TrialSteps = None,
    device: Device = None,
    precision: Precision = None,
    microbatch: Microbatch = None,
    despite_privacy: DespitePrivacy = False,
    name: Name = None,
    output_dir: Runs = Path("runs"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Search for better settings, or for a learning rate.

    Variants of the recipe are trained and judged on the validation rows; the test rows are left for the end. With
    --lr the rate rises over a few hundred steps, and the curve of the loss tells which rates are of use.
    """
    from sonde.cli import tuning

    tuning.command(dict(locals()))


@app.command(cls=Command, epilog="Example: sonde resume digits")
def resume(run: Own, output_dir: Runs = Path("runs"), json: Json = False, quiet: Quiet = False) -> None:
    """Go on with an interrupted run, to the same bits."""
    from sonde.cli import training

    training.resume(run, output_dir, json, quiet)


@app.command(cls=Command, epilog="Example: sonde predict digits pictures/ --out answers.csv")
def predict(
    run: Own,
    inputs: Annotated[str, typer.Argument(metavar="INPUT", help="a file or folder like the one it was trained on")],
    out: Annotated[Path | None, option("--out", about="write a CSV file instead of printing", of="FILE")] = None,
    output_dir: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Answer for new inputs, as CSV."""
    from sonde.cli import using

    using.predict(run, inputs, out, output_dir, json)


@app.command(cls=Command, epilog="Example: sonde evaluate digits")
@app.command("val", cls=Command, hidden=True)
@app.command("eval", cls=Command, hidden=True)
def evaluate(
    run: Own,
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="other labelled data; the run's own if left out")
    ] = None,  # noqa: E501
    split: Annotated[
        str, option("--split", about="train, val or test rows of the run's own data", of="SPLIT")
    ] = "test",
    on_bad: OnBad = "fail",
    output_dir: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Measure a run's model on a split, or on other data."""
    from sonde.cli import using

    using.evaluate(run, data, split, on_bad, output_dir, json)


@app.command(cls=Command, epilog="Example: sonde audit digits --thresholds audit.toml")
def audit(
    context: typer.Context,
    run: Own,
    only: Annotated[
        list[str], option("--only", about="topics or audits, e.g. fairness,robustness; all: every one", of="NAMES")
    ] = [],
    thresholds: Annotated[
        Path | None, option("--thresholds", about="a TOML file of bounds; exit code 3 if one is not kept", of="FILE")
    ] = None,
    budget: Annotated[str | None, option("--budget", about="time for all audits, e.g. 5m", of="TIME")] = None,
    baseline: Annotated[str | None, option("--baseline", about="an audited run, to say what changed", of="RUN")] = None,
    seed: Annotated[int, option("--seed", about="of the audits' own draws", of="N")] = 0,
    output_dir: Runs = Path("runs"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure what a run's model is worth.

    Quality, calibration, fairness, robustness. Every audit that fits the model runs, or those that the run's recipe
    names; the others say why they do not. The numbers, with intervals and figures, go into the run's audit.json and
    report.html, beside those found earlier.
    """
    from sonde.cli import auditing

    given = dict(locals())
    raise typer.Exit(auditing.command(given, given.pop("context").obj or []))


@app.command(cls=Command, epilog="Example: sonde runs --json")
def runs(output_dir: Runs = Path("runs"), json: Json = False) -> None:
    """List the runs, and how each ended."""
    from sonde.cli import listing

    listing.runs(output_dir, json)


@app.command(cls=Command, epilog="Example: sonde compare digits digits-2")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="two runs or more")],
    output_dir: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Show runs side by side, and where their recipes differ.

    Two audited runs are compared on the same test rows, in pairs, which tells more apart than their intervals do.
    """
    from sonde.cli import comparing

    comparing.compare(names, output_dir, json)


@app.command(cls=Command, epilog="Example: sonde data people.csv --target income")
def data(
    data: Annotated[
        str | None, typer.Argument(metavar="DATA", help="a folder, a file or a name; nothing lists the named sets")
    ] = None,
    target: Target = None,
    sensitive: Sensitive = "",
    kind: Kind = [],
    task: Task = None,
    on_bad: OnBad = "fail",
    encoding: Encoding = None,
    size: Size = None,
    read: Read = [],
    download: Download = False,
    json: Json = False,
) -> None:
    """Say what data holds, and everything wrong with it."""
    from sonde.cli import listing

    listing.data(dict(locals()))


@app.command(cls=Command, epilog="Example: sonde nets")
def nets(json: Json = False) -> None:
    """List the architectures and their options."""
    from sonde.cli import listing

    listing.entries("nets", json)


@app.command(cls=Command, epilog="Example: sonde methods")
def methods(
    matrix: Annotated[bool, option("--matrix", about="try every pair of them: which go together, and why not")] = False,
    objective: Annotated[
        list[str],
        option("--objective", about="of the matrix: classification, regression, gan, contrastive; may be repeated"),
    ] = [],
    json: Json = False,
) -> None:
    """List the training methods and their options."""
    from sonde.cli import listing

    if matrix or objective:
        listing.matrix(objective, json)
    else:
        listing.entries("methods", json)


@app.command(cls=Command, epilog="Example: sonde audits")
def audits(json: Json = False) -> None:
    """List the audits, what each measures, and its settings."""
    from sonde.cli import auditing

    auditing.listed(json)


@app.command(cls=Command, epilog="Example: sonde recipes")
def recipes(json: Json = False) -> None:
    """List the recipes and experiments, and what they claim."""
    from sonde.cli import experiments

    experiments.recipes(json)


@app.command(cls=Command, epilog="Example: sonde run digits")
def run(
    experiment: Annotated[str, typer.Argument(metavar="NAME", help="an experiment's name; see: sonde recipes")],
    seed: Annotated[int, option("--seed", about="of every generator", of="N")] = 0,
    output_dir: Results = Path("runs/atlas"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run an experiment and check its claim.

    Exit code 3 if it does not hold.
    """
    from sonde.cli import experiments

    experiments.run(experiment, output_dir, seed, json, quiet)


@app.command(cls=Command, epilog="Example: sonde atlas --within 1m --available")
def atlas(
    names: Annotated[list[str], typer.Argument(metavar="[NAME]...", help="experiments; all unless given")] = [],
    chapter: Annotated[
        list[str], option("--chapter", about="only those of a chapter: its name or number; repeatable", of="CHAPTER")
    ] = [],
    within: Annotated[
        str | None, option("--within", about="only those that take no longer: 60s, 5m", of="TIME")
    ] = None,
    available: Annotated[bool, option("--available", about="only those whose data is on this machine")] = False,
    again: Annotated[bool, option("--again", about="run also those that have a result of this code")] = False,
    out: Annotated[
        Path | None, option("--out", about="the site's folder; site in that of the results unless given", of="FOLDER")
    ] = None,
    output_dir: Results = Path("runs/atlas"),
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Run experiments, and write a site of all results."""
    from sonde.cli import experiments

    experiments.atlas(names, output_dir, out, chapter, within, available, again, json, quiet)


@app.command(cls=Command, epilog="Example: sonde doctor")
def doctor(json: Json = False) -> None:
    """Say what this machine has, and what is amiss."""
    from sonde.cli import health

    health.doctor(json)


@app.command(cls=Command, epilog="Example: sonde convert weights.pt")
def convert(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="a PyTorch weights file that you mean to convert")],
    out: Annotated[
        Path | None, option("--out", about="the .safetensors file; beside FILE unless given", of="FILE")
    ] = None,
    json: Json = False,
) -> None:
    """Turn a PyTorch weights file into safetensors, safely."""
    from sonde.cli import converting

    converting.convert(file, out, json)


def command_names() -> list[str]:
    """The names of all commands."""
    return [str(c.name or getattr(c.callback, "__name__", "")) for c in app.registered_commands]
