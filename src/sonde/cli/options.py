"""The options of the commands: what each is called, what it means, and the heading that it stands under."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from typer.models import OptionInfo


def option(*names: str, about: str, of: str | None = None, under: str | None = None) -> OptionInfo:
    """An option: its names, what it means, what its value is called, and the heading that it stands under."""
    info: OptionInfo = typer.Option(*names, help=about, metavar=of, rich_help_panel=under)
    return info


DATA, MODEL, LENGTH, MACHINE, RUN = "Data", "Model and methods", "How long", "Machine", "Run"
Target = Annotated[
    str | None,
    option(
        "--target",
        about="what to predict; several columns, separated by commas, for many labels",
        of="COLUMN",
        under=DATA,
    ),
]
Sensitive = Annotated[
    str, option("--sensitive", about="columns whose groups are counted, separated by commas", of="COLUMNS", under=DATA)
]
Kind = Annotated[
    list[str], option("--kind", about="what a column is: zip=categorical; repeatable", of="COLUMN=KIND", under=DATA)
]
Task = Annotated[str | None, option("--task", about="classification, multilabel or regression", of="TASK", under=DATA)]
OnBad = Annotated[
    str,
    option("--on-bad", about="fail, or skip bad files and rows; all are listed either way", of="fail|skip", under=DATA),
]
Encoding = Annotated[str | None, option("--encoding", about="of a CSV file; UTF-8 unless given", of="NAME", under=DATA)]
Size = Annotated[
    int | None, option("--size", about="side of the square that images are brought to", of="PIXELS", under=DATA)
]
Read = Annotated[
    list[str],
    option("--read", about="any other option of sonde.data.open: labels=labels.csv", of="OPTION=VALUE", under=DATA),
]
Download = Annotated[bool, option("--download", about="fetch a named data set that is not on this machine", under=DATA)]
Runs = Annotated[Path, option("--output-dir", about="the folder that holds the runs", of="FOLDER", under=RUN)]
Results = Annotated[Path, option("--output-dir", about="the folder that holds the results", of="FOLDER", under=RUN)]
Json = Annotated[bool, option("--json", about="print the result as JSON", under=RUN)]
Quiet = Annotated[bool, option("--quiet", "-q", about="print no progress", under=RUN)]
Own = Annotated[str, typer.Argument(metavar="RUN", help="a run's name or folder")]
Several = Annotated[
    list[str],
    typer.Argument(
        metavar="[DATA]...",
        help="a folder, a file, or the name of a data set; several are learned one after another",
    ),
]
Stream = Annotated[
    str | None,
    option(
        "--stream",
        about="the data as experiences, a stage each: 'split(tasks=5)', permuted, rotated; in_order for several DATA",
        of="STREAM",
        under=DATA,
    ),
]
Test = Annotated[float | None, option("--test", about="share of the rows kept for testing", of="SHARE", under=DATA)]
Val = Annotated[float | None, option("--val", about="share of the rest kept for validation", of="SHARE", under=DATA)]
Net = Annotated[
    str | None,
    option("--net", about="another architecture: 'resnet(widths=(32, 64))'; see: sonde nets", of="NET", under=MODEL),
]
With = Annotated[
    list[str],
    option(
        "--with",
        about="a training method: 'mixup(alpha=0.2)'; repeatable; see: sonde methods",
        of="METHOD",
        under=MODEL,
    ),
]
Set = Annotated[
    list[str],
    option("--set", about="any entry of the recipe: methods.ema.decay=0.99; repeatable", of="PATH=VALUE", under=MODEL),
]
RecipeFile = Annotated[
    str | None,
    option(
        "--recipe", about="a recipe: a file, a run's folder, or a name; see: sonde recipes", of="RECIPE", under=MODEL
    ),
]
BatchSize = Annotated[int | None, option("--batch-size", about="rows of a step", of="N", under=MODEL)]
Rate = Annotated[float | None, option("--lr", about="peak learning rate", of="RATE", under=MODEL)]
Decay = Annotated[float | None, option("--weight-decay", about="decoupled, on matrices only", of="RATE", under=MODEL)]
Seed = Annotated[int | None, option("--seed", about="seeds everything; 0 unless given", of="N", under=MODEL)]
Epochs = Annotated[float | None, option("--epochs", about="passes over the training rows", of="N", under=LENGTH)]
Steps = Annotated[int | None, option("--steps", about="batches", of="N", under=LENGTH)]
Time = Annotated[
    str | None, option("--time", about="90s, 10m, 2h; the first limit reached ends training", of="TIME", under=LENGTH)
]
Patience = Annotated[
    int | None, option("--patience", about="validations without improvement before it stops", of="N", under=LENGTH)
]
Device = Annotated[
    str | None, option("--device", about="auto (unless given), cpu, cuda, cuda:1, mps", of="DEVICE", under=MACHINE)
]
Precision = Annotated[
    str | None, option("--precision", about="32 (unless given), bf16-mixed, 16-mixed", of="BITS", under=MACHINE)
]
Microbatch = Annotated[
    int | None, option("--microbatch", about="rows differentiated at a time, to save memory", of="N", under=MACHINE)
]
Compile = Annotated[bool, option("--compile", about="trace the model with torch.compile", under=MACHINE)]
Parallel = Annotated[str | None, option("--parallel", about="ddp or fsdp, under torchrun", of="HOW", under=MACHINE)]
Name = Annotated[str | None, option("--name", about="of the run; the data's unless given", of="NAME", under=RUN)]
NoBaselines = Annotated[bool, option("--no-baselines", about="leave the simpler models out of the report", under=RUN)]
DryRun = Annotated[bool, option("--dry-run", about="print the resolved recipe and train nothing", under=RUN)]
Resume = Annotated[bool, option("--resume", about="go on with the unfinished run of this same command", under=RUN)]

SEARCH, RANGE = "Search", "Range test of the learning rate (--lr)"
Trials = Annotated[
    int | None, option("--trials", about="variants to try; 20 unless given, or --time", of="N", under=SEARCH)
]
SearchTime = Annotated[str | None, option("--time", about="of the whole search: 90s, 10m, 2h", of="TIME", under=SEARCH)]
Search = Annotated[
    list[str],
    option(
        "--search",
        about="a setting and its values: 'lr=1e-4..1e-1 log', 'net.widths=(64,),(128,128)'; repeatable; "
        "rate, decay, batch size and the net's size unless given",
        of="PATH=VALUES",
        under=SEARCH,
    ),
]
Metric = Annotated[
    str | None,
    option(
        "--metric",
        about="of the validation rows, to be improved: loss (unless the recipe stops early by another), accuracy...",
        of="NAME",
        under=SEARCH,
    ),
]
Pruner = Annotated[
    str | None,
    option(
        "--pruner", about="which gives up trials that fall behind: median, hyperband, none", of="NAME", under=SEARCH
    ),
]
GoOn = Annotated[bool, option("--resume", about="go on with the latest search of these same settings", under=SEARCH)]
TrainBest = Annotated[
    bool, option("--train-best", about="then train the best once more, and measure it on the test rows", under=SEARCH)
]
RangeTest = Annotated[bool, option("--lr", about="do this in place of a search", under=RANGE)]
Low = Annotated[float | None, option("--from", about="the lowest rate; 1e-7 unless given", of="RATE", under=RANGE)]
High = Annotated[float | None, option("--to", about="the highest rate; 10 unless given", of="RATE", under=RANGE)]
Seeds = Annotated[
    int | None, option("--seeds", about="how often, from other weights; 3 unless given", of="N", under=RANGE)
]
TrialSteps = Annotated[
    int | None, option("--steps", about="batches of a trial, or of the ramp of --lr (200)", of="N", under=LENGTH)
]
TrialEpochs = Annotated[float | None, option("--epochs", about="passes of a trial", of="N", under=LENGTH)]
DespitePrivacy = Annotated[
    bool,
    option(
        "--despite-privacy",
        about="also where training is private, though its epsilon does not cover what is chosen here",
        under=RUN,
    ),
]
