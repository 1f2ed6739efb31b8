"""What augmentation costs: Sonde's batched methods beside torchvision's transforms of Pillow pictures, in one run.

    python benchmarks/augment.py            writes benchmarks/results/augment.json
    python benchmarks/augment.py --quick    5 rounds; writes nothing unless --out names a file

Both go from stored bytes to a batch of 256 rows in floating point, on one thread. Before anything is timed, both must
change pictures by about as much. See `README.md` for how it is measured, and for where torchvision comes from.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from _timing import HERE, Spread, environment, machine, versions

PACKAGES = ("sonde", "torch", "torchvision", "pillow", "numpy")
ROWS, BATCH = 8192, 256
SHAPES = {"32x32x3": (32, 3), "28x28x1": (28, 1)}
TARGET = 10.0  # times torchvision's pictures a second
APART = 0.15  # how far the mean change of a pixel may differ between the two, as a share of torchvision's


@dataclass(frozen=True)
class Task:
    """One augmentation, here and there. compared: whether the mean change of a pixel says that both do the same."""

    ours: Callable[[], list[Any]]
    theirs: Callable[[Any, int], list[Any]]
    compared: bool = True
    on_tensors: bool = False  # torchvision's works on the tensor, after Pillow


def tasks() -> dict[str, Task]:
    """By name. `t` is torchvision.transforms, `side` the picture's."""
    from sonde import methods as m

    def bilinear(t: Any) -> Any:
        return t.InterpolationMode.BILINEAR

    def shifted(t: Any, side: int) -> list[Any]:
        return [t.RandomCrop(side, padding=side // 8, padding_mode="edge"), t.RandomHorizontalFlip()]

    def cropped(t: Any, side: int) -> list[Any]:
        return [t.RandomResizedCrop(side, scale=(0.5, 1.0), ratio=(1.0, 1.0)), t.RandomHorizontalFlip()]

    return {
        "shift, flip": Task(lambda: [m.Shift(0.125), m.Flip()], shifted),
        "crop, flip": Task(lambda: [m.Crop(0.5), m.Flip()], cropped),
        "rotate": Task(lambda: [m.Rotate(10.0)], lambda t, side: [t.RandomRotation(10, bilinear(t))]),
        "scale": Task(
            lambda: [m.Scale(0.1)], lambda t, side: [t.RandomAffine(0, scale=(0.9, 1.1), interpolation=bilinear(t))]
        ),
        "colour": Task(lambda: [m.Colour(0.2, 0.2, 0.2)], lambda t, side: [t.ColorJitter(0.2, 0.2, 0.2)]),
        "erase": Task(
            lambda: [m.Erase(0.25)],
            lambda t, side: [t.RandomErasing(p=1.0, scale=(1 / 16, 1 / 16), ratio=(1.0, 1.0))],
            compared=False,  # a square of black that lies inside, there; of the mean, and cut off at the edge, here
            on_tensors=True,
        ),
        "RandAugment": Task(lambda: [m.RandAugment(2, 9.0)], lambda t, side: [t.RandAugment(2, 9)]),
        "TrivialAugment": Task(lambda: [m.TrivialAugment()], lambda t, side: [t.TrivialAugmentWide()]),
    }


def transforms() -> Any:
    """torchvision.transforms. Its wheels hold operators compiled for CUDA, which no transform of Pillow's uses."""
    import torch

    if importlib.util.find_spec("torchvision") is None:
        raise SystemExit("torchvision is not installed: pip install --no-deps --target DIR torchvision, PYTHONPATH=DIR")
    try:
        from torchvision import transforms as found
    except RuntimeError:  # beside torch for the CPU they do not load, and the import looks for two of them by name
        for name in [name for name in sys.modules if name.startswith("torchvision")]:
            del sys.modules[name]
        library = torch.library.Library("torchvision", "FRAGMENT")
        for name in ("nms", "qnms"):
            library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
        globals()["_operators"] = library  # they live as long as this does
        from torchvision import transforms as found
    return found


class Pair:
    """One augmentation in both libraries, on the same stored pictures: windows of two photographs."""

    def __init__(self, task: Task, side: int, channels: int) -> None:
        import numpy as np
        import torch
        from sklearn.datasets import load_sample_images

        from sonde.data.images import ImageSchema, image_dataset
        from sonde.data.targets import Target

        photographs, draw = load_sample_images().images, np.random.default_rng(0)
        bytes_ = np.empty((ROWS, side, side, 3), np.uint8)
        for i in range(ROWS):
            whole = photographs[i % 2]
            top, left = (int(draw.integers(n - 2 * side)) for n in whole.shape[:2])
            bytes_[i] = whole[top : top + 2 * side : 2, left : left + 2 * side : 2]
        self.stored = bytes_ if channels == 3 else bytes_.mean(-1).astype(np.uint8)
        x = torch.from_numpy(self.stored)
        x = (x.permute(0, 3, 1, 2) if channels == 3 else x[:, None]).contiguous()  # (ROWS, C, H, W)
        target = Target("classification", ("class",), ("a", "b"))
        schema = ImageSchema(channels, (side, side), target)
        self.data = image_dataset(x.numpy(), np.arange(ROWS) % 2, schema, name="w", names=[str(i) for i in range(ROWS)])
        t = transforms()
        self.methods = task.ours()
        self.steps = task.theirs(t, side)
        whole = [t.ToTensor(), *self.steps] if task.on_tensors else [*self.steps, t.ToTensor()]
        self.pipeline, self.alone = t.Compose(whole), t.Compose(self.steps)
        self.to_tensor, self.on_tensors = t.ToTensor(), task.on_tensors

    def ours(self, index: Any) -> Any:
        """From stored bytes to a batch."""
        return self.ours_alone(self.data.batch(index))

    def ours_alone(self, batch: Any) -> Any:
        """The change of a batch."""
        for method in self.methods:
            batch = method.batch(None, batch)
        return batch.x

    def theirs(self, index: list[int]) -> Any:
        """From stored bytes to a batch, picture by picture as torchvision's data sets do it."""
        import torch
        from PIL import Image

        return torch.stack([self.pipeline(Image.fromarray(self.stored[i])) for i in index])

    def pictures(self, index: list[int]) -> list[Any]:
        """What torchvision's transforms change."""
        from PIL import Image

        found = [Image.fromarray(self.stored[i]) for i in index]
        return [self.to_tensor(p) for p in found] if self.on_tensors else found

    def apart(self) -> float:
        """The difference of the mean change of a pixel in the middle, as a share of torchvision's.

        Away from the middle they differ: what a turn uncovers is black there, and the edge's colour here.
        """
        import torch

        index = torch.arange(ROWS // 2)
        before = self.data.batch(index).x
        side = before.shape[-1]
        middle = (..., slice(side // 4, 3 * side // 4), slice(side // 4, 3 * side // 4))
        both = self.ours(index), self.theirs(index.tolist())
        ours, theirs = ((x - before)[middle].abs().mean().item() for x in both)
        return abs(ours - theirs) / theirs


def timed(what: Callable[[], Any], times: int) -> tuple[float, float]:
    """Seconds of wall clock and of processor for one of so many runs."""
    start, cpu = time.perf_counter(), time.process_time()
    for _ in range(times):
        what()
    return (time.perf_counter() - start) / times, (time.process_time() - cpu) / times


def measure(pair: Pair, rounds: int) -> dict[str, Any]:
    """Pictures a second in both, and medians of the ratios of rounds taken side by side."""
    import torch

    g = torch.Generator().manual_seed(1)
    took: dict[str, list[tuple[float, float]]] = {"ours": [], "theirs": [], "ours alone": [], "theirs alone": []}
    for r in range(rounds + 2):
        index = torch.randperm(ROWS, generator=g)[:BATCH]
        batch, listed = pair.data.batch(index), index.tolist()
        pictures = pair.pictures(listed)
        runs: dict[str, tuple[Callable[[], Any], int]] = {
            "ours": (lambda index=index: pair.ours(index), 8),
            "theirs": (lambda listed=listed: pair.theirs(listed), 1),
            "ours alone": (lambda batch=batch: pair.ours_alone(batch), 8),
            "theirs alone": (lambda pictures=pictures: [pair.alone(p) for p in pictures], 1),
        }
        for name in list(runs) if r % 2 else reversed(list(runs)):  # neither always goes first
            seconds = timed(*runs[name])
            if r >= 2:
                took[name].append(seconds)

    def ratio(ours: str, theirs: str, clock: int) -> dict[str, float]:
        return Spread.of([t[clock] / o[clock] for o, t in zip(took[ours], took[theirs], strict=True)]).data()

    return {
        "pictures_per_processor_second": Spread.of([BATCH / cpu for _, cpu in took["ours"]]).data(),
        "pictures_per_processor_second_theirs": Spread.of([BATCH / cpu for _, cpu in took["theirs"]]).data(),
        "times_as_fast": ratio("ours", "theirs", 0),
        "times_as_fast_by_processor_time": ratio("ours", "theirs", 1),
        "times_as_fast_the_change_alone_by_processor_time": ratio("ours alone", "theirs alone", 1),
    }


def work(names: list[str], rounds: int) -> dict[str, Any]:
    """Check and time the tasks, in a process that was started for it."""
    found: dict[str, Any] = {}
    for shape, (side, channels) in SHAPES.items():
        print(f"{shape}, batches of {BATCH}")
        print(f"  {'':<16}{'pictures/s':>12}{'theirs':>9}   times as fast     by the clock   change alone")
        found[shape] = {}
        for name in names:
            task = tasks()[name]
            pair = Pair(task, side, channels)
            apart = pair.apart()
            if task.compared and not apart <= APART:
                raise SystemExit(f"{name}, {shape}: pictures change {apart:.0%} more or less than torchvision's")
            m = found[shape][name] = {"mean_change_apart": apart, **measure(pair, rounds), "target": TARGET}
            fast = m["times_as_fast_by_processor_time"]
            print(
                f"  {name:<16}{m['pictures_per_processor_second']['median']:>12,.0f}"
                f"{m['pictures_per_processor_second_theirs']['median']:>9,.0f}"
                f"   {fast['median']:>5.1f} ({fast['low']:.1f}-{fast['high']:.1f}){m['times_as_fast']['median']:>12.1f}"
                f"{m['times_as_fast_the_change_alone_by_processor_time']['median']:>15.1f}",
                flush=True,
            )
    return found


def main() -> int:
    """Measure, print, write; 1 if a contender did different work."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="5 rounds")
    parser.add_argument("--only", nargs="+", default=[])
    parser.add_argument("--rounds", type=int, default=0, help="pairs of rounds; 15 by default")
    parser.add_argument("--out", type=Path)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    rounds = given.rounds or (5 if given.quick else 15)
    out = given.out or (None if given.quick else HERE / "results" / "augment.json")
    if not given.child:  # the environment must stand before the first import of torch
        with tempfile.TemporaryDirectory() as home:
            command = [sys.executable, __file__, "--child", "--rounds", str(rounds)]
            command += ["--only", *given.only] if given.only else []
            return subprocess.run(
                [*command, *(["--out", str(out)] if out else [])], env=environment(1, home)
            ).returncode
    import torch

    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"one thread, {rounds} rounds, load {os.getloadavg()[0]:.1f}")
    found = work(given.only or list(tasks()), rounds)
    if out:
        result = {
            "batch": BATCH,
            "rounds": rounds,
            "tasks": found,
            "machine": machine(),
            "versions": versions(PACKAGES),
        }
        out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
