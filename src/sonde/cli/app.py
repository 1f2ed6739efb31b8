"""The commands and their options. Bodies live beside this file and are imported when a command runs."""

# ruff: noqa: D103 - a command's docstring is its help text, written for the person at the terminal

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    name="sonde",
    help="Train a model on your data, and measure it before you trust it.",
    epilog="Begin with: sonde train digits",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Runs = Annotated[Path, typer.Option("--output-dir", "--runs", help="the folder that holds the runs")]
Json = Annotated[bool, typer.Option("--json", help="print the result as JSON")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="print no progress")]
Target = Annotated[str | None, typer.Option(help="the column to predict; several, separated by commas, for many labels")]
Sensitive = Annotated[str, typer.Option(help="columns whose groups are counted, separated by commas")]
Kind = Annotated[list[str], typer.Option("--kind", help="what a column is, e.g. zip=categorical; may be repeated")]
Task = Annotated[str | None, typer.Option(help="classification, multilabel or regression")]
OnBad = Annotated[str, typer.Option(help="fail, or skip bad files and rows; all of them are listed either way")]
Encoding = Annotated[str | None, typer.Option(help="of a CSV file; UTF-8 unless given")]
Size = Annotated[int | None, typer.Option(help="side of the square that images are brought to, in pixels")]
Download = Annotated[bool, typer.Option("--download", help="fetch a named data set that is not on this machine")]
Own = Annotated[str, typer.Argument(help="a run's name or folder")]


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


@app.command(epilog="Example: sonde train people.csv --target income --sensitive sex,race --epochs 10")
def train(
    data: Annotated[str | None, typer.Argument(help="a folder, a file, or the name of a data set")] = None,
    target: Target = None,
    sensitive: Sensitive = "",
    kind: Kind = [],  # noqa: B006 - typer copies it
    task: Task = None,
    on_bad: OnBad = "fail",
    encoding: Encoding = None,
    size: Size = None,
    test: Annotated[float | None, typer.Option(help="share of the rows kept for testing")] = None,
    val: Annotated[float | None, typer.Option("--val", "--val-split", help="share of the rest for validation")] = None,
    download: Download = False,
    net: Annotated[str | None, typer.Option(help="the architecture, e.g. 'resnet(widths=(32, 64))'; see: sonde nets")] = None,
    with_: Annotated[list[str], typer.Option("--with", help="a training method, e.g. 'mixup(alpha=0.2)'; repeatable")] = [],  # noqa: B006
    set_: Annotated[list[str], typer.Option("--set", help="any entry of the recipe: methods.ema.decay=0.99")] = [],  # noqa: B006
    recipe: Annotated[str | None, typer.Option("--recipe", "--config", help="a recipe: a file, or a name from: sonde recipes")] = None,
    epochs: Annotated[float | None, typer.Option(help="passes over the training rows")] = None,
    steps: Annotated[int | None, typer.Option(help="batches")] = None,
    time: Annotated[str | None, typer.Option("--time", "--time-limit", help="e.g. 90s, 10m, 2h")] = None,
    batch_size: Annotated[int | None, typer.Option("--batch-size", "--batch", help="rows of a step")] = None,
    lr: Annotated[float | None, typer.Option("--lr", "--learning-rate", help="peak learning rate")] = None,
    weight_decay: Annotated[float | None, typer.Option(help="decoupled, on matrices only")] = None,
    patience: Annotated[int | None, typer.Option(help="validations without improvement before it stops")] = None,
    microbatch: Annotated[int | None, typer.Option(help="rows differentiated at a time, to save memory")] = None,
    seed: Annotated[int, typer.Option(help="seeds everything")] = 0,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda, mps")] = "auto",
    precision: Annotated[str, typer.Option(help="32, bf16-mixed, 16-mixed")] = "32",
    compile_: Annotated[bool, typer.Option("--compile", help="trace the model with torch.compile")] = False,
    parallel: Annotated[str, typer.Option(help="none; ddp or fsdp under torchrun")] = "none",
    name: Annotated[str | None, typer.Option(help="of the run; the data's unless given")] = None,
    output_dir: Runs = Path("runs"),
    no_baselines: Annotated[bool, typer.Option("--no-baselines", help="leave the simpler models out")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", "--print-config", help="print the resolved recipe and stop")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="go on with the unfinished run of this same command")] = False,
    json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Train on a folder, a file or a named data set, and write a report."""
    from sonde.cli import training

    training.command(dict(locals()), sys.argv[1:])


@app.command(epilog="Example: sonde resume digits")
def resume(run: Own, output_dir: Runs = Path("runs"), json: Json = False, quiet: Quiet = False) -> None:
    """Go on with an interrupted run, to the same bits."""
    from sonde.cli import training

    training.resume(run, output_dir, json, quiet)


@app.command(epilog="Example: sonde predict digits pictures/ --out answers.csv")
def predict(
    run: Own,
    inputs: Annotated[str, typer.Argument(metavar="INPUT", help="a file or folder like the one it was trained on")],
    out: Annotated[Path | None, typer.Option(help="write a CSV here instead of printing")] = None,
    output_dir: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Answer for new inputs."""
    from sonde.cli import using

    using.predict(run, inputs, out, output_dir, json)


@app.command(epilog="Example: sonde evaluate digits")
@app.command("val", hidden=True)
@app.command("eval", hidden=True)
def evaluate(
    run: Own,
    data: Annotated[str | None, typer.Argument(help="other labelled data; the run's own unless given")] = None,
    split: Annotated[str, typer.Option(help="train, val or test")] = "test",
    output_dir: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Measure a run's model on a split, or on other data."""
    from sonde.cli import using

    using.evaluate(run, data, split, output_dir, json)


@app.command(epilog="Example: sonde runs --json")
def runs(output_dir: Runs = Path("runs"), json: Json = False) -> None:
    """List the runs."""
    from sonde.cli import listing

    listing.runs(output_dir, json)


@app.command(epilog="Example: sonde compare first second")
def compare(
    names: Annotated[list[str], typer.Argument(metavar="RUN...", help="two runs or more")],
    output_dir: Runs = Path("runs"),
    json: Json = False,
) -> None:
    """Show runs side by side, with intervals, and where their recipes differ."""
    from sonde.cli import listing

    listing.compare(names, output_dir, json)


@app.command(epilog="Example: sonde data people.csv --target income")
def data(
    data: Annotated[str | None, typer.Argument(help="a folder, a file or a name; nothing lists the named sets")] = None,
    target: Target = None,
    sensitive: Sensitive = "",
    kind: Kind = [],  # noqa: B006
    task: Task = None,
    on_bad: OnBad = "fail",
    encoding: Encoding = None,
    size: Size = None,
    download: Download = False,
    json: Json = False,
) -> None:
    """Say what was inferred from the data and everything that is wrong with it."""
    from sonde.cli import listing

    listing.data(dict(locals()))


@app.command(epilog="Example: sonde nets")
def nets(json: Json = False) -> None:
    """List the architectures and their options."""
    from sonde.cli import listing

    listing.entries("nets", json)


@app.command(epilog="Example: sonde methods")
def methods(json: Json = False) -> None:
    """List the training methods and their options."""
    from sonde.cli import listing

    listing.entries("methods", json)


@app.command(epilog="Example: sonde recipes")
def recipes(json: Json = False) -> None:
    """List the recipes of the package: claim, source, published and measured number."""
    from sonde.cli import listing

    listing.recipes(json)


@app.command(epilog="Example: sonde doctor")
def doctor(json: Json = False) -> None:
    """Say what this machine has: versions, devices, speed, data, disk."""
    from sonde.cli import health

    health.doctor(json)


@app.command(epilog="Example: sonde convert weights.pt")
def convert(
    file: Annotated[Path, typer.Argument(help="a PyTorch weights file that you trust enough to convert")],
    out: Annotated[Path | None, typer.Option(help="where the .safetensors goes; beside the file unless given")] = None,
    json: Json = False,
) -> None:
    """Turn a PyTorch weights file into safetensors, in a process of its own."""
    from sonde.cli import converting

    converting.convert(file, out, json)


def command_names() -> list[str]:
    """The names of all commands."""
    return [c.name or getattr(c.callback, "__name__", "") for c in app.registered_commands]
