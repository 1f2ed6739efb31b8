"""What each layer of a small convolutional net responds to: from edges and colours to parts of one class.

Claim: the first layer's kernels become oriented edges and patches of colour; with depth units see more of the picture,
say more about its class, and a linear reader of the layer answers better; in a net that was not trained none of this
grows as far.
Source: Zeiler and Fergus, Visualizing and understanding convolutional networks, 2014 (the patches that excite a channel
most; corners in layer 2, textures in 3, parts of objects above); Alain and Bengio, Understanding intermediate layers
using linear classifier probes, 2016 (linear separability grows monotonically with depth); Yosinski, Clune, Bengio and
Lipson, How transferable are features in deep neural networks?, 2014 (first layers like Gabor filters and colour blobs).
Theirs are large nets on ImageNet; here four layers on 15,000 pictures of CIFAR-10. The linear reader is ridge
regression onto the classes, its penalty chosen on validation rows, of each channel's mean over a 4 x 4 grid, so that
all layers are read at one resolution. How much a channel says of the class is the share of its variance over pictures
that lies between classes (eta squared). An edge or a grating is a Gabor function, the best of a few thousand.
Measured, seed 0, four passes. The reader is right on 51.6 % of the test rows from layer 1, 57.1 %, 62.0 % and 63.8 %
from layer 4 (each within 1.0, each step more than nothing); in the same net untrained on 48.7, 46.4, 46.6 and 44.4 %.
Between classes lie 0.17, 0.20, 0.24 and 0.41 of the variance of a channel. A unit sees 7, 11, 21 and 41 pixels. One
Gabor function explains 0.55 of a first kernel (0.50 to 0.59), and 0.18 before training: after four passes much of the
noise that the kernels began with is still there.

Entry: hierarchical feature learning; convolution.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from torch import Tensor, nn

from sonde import methods
from sonde.audits.quality.intervals import bootstrap, compare, mean, wilson
from sonde.core import Budget, Measure, Run, fit, seed_everything
from sonde.data import Dataset, load
from sonde.data.rows import Split
from sonde.drawing import COLOURS, canvas, legend
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.objectives import Classify
from sonde.optim.schedules import Cosine
from sonde.recipes._seeds import fewer

# N rows, C channels of a layer, L layers, S side of a picture, K side of a kernel

SOURCE = "Zeiler and Fergus, 2014; Alain and Bengio, 2016"
LAYERS = ((24, 7, 2, 1), (32, 3, 1, 2), (64, 3, 1, 2), (96, 3, 1, 1))
"""Of each layer: channels, side of the kernel, stride, and by how much pooling shrinks what comes out."""


class Layers(nn.Module):
    """Convolution, batch normalisation, ReLU and pooling, four times; then the mean over positions and a linear layer.

    Reads x: (N, 3, S, S). Returns (N, classes). `responses` gives what every layer answers before it is pooled.
    """

    def __init__(self, channels: int, classes: int, layers: Sequence[tuple[int, int, int, int]] = LAYERS) -> None:
        super().__init__()
        self.kernels = nn.ModuleList()
        self.norms = nn.ModuleList()
        self.pools = [pool for *_, pool in layers]
        for out, kernel, stride, _ in layers:
            self.kernels.append(nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False))
            self.norms.append(nn.BatchNorm2d(out))
            channels = out
        self.output = nn.Linear(channels, classes)

    @property
    def first(self) -> Tensor:
        """The first layer's kernels, (C, channels, K, K)."""
        weight: Any = self.kernels[0].weight
        return weight.detach()  # type: ignore[no-any-return]

    def responses(self, x: Tensor) -> list[Tensor]:
        """(N, C, h, w) of every layer, after the ReLU."""
        found = []
        for kernel, norm, pool in zip(self.kernels, self.norms, self.pools, strict=True):
            found.append(torch.relu(norm(kernel(x))))
            x = F.max_pool2d(found[-1], pool)
        return found

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        z: Tensor = self.output(self.responses(x)[-1].mean((2, 3)))
        return z


def trained(data: Dataset, seed: int, epochs: float) -> tuple[Layers, Layers]:
    """The net trained, and as it began (which has seen the rows once, for its normalisation's statistics alone)."""
    seed_everything(seed)
    channels = int(data.batch(data.splits["train"][:1]).x.shape[1])
    net = Layers(channels, len(data.classes))
    seed_everything(seed)
    raw = Layers(channels, len(data.classes))
    with torch.no_grad():
        for index in data.splits["train"][:4000].split(500):
            raw.train()(data.batch(index).x)
    rule = methods.adamw(3e-3, weight_decay=0.05, schedule=Cosine(warmup=0.1))
    run = Run(Classify(net), [methods.Flip(), rule])
    fit(run, Split(data, "train", batch_size=64, seed=seed), Budget(epochs=epochs))
    return net.eval(), raw.eval()


# ---------------------------------------------------------------- reading layers
@torch.no_grad()
def features(net: Layers, x: Tensor) -> list[Tensor]:
    """Of every layer, (N, C 16): each channel's mean over a 4 x 4 grid."""
    parts = [[F.adaptive_avg_pool2d(r, 4).flatten(1) for r in net.responses(p)] for p in x.split(500)]
    return [torch.cat(layer) for layer in zip(*parts, strict=True)]


def probe(train: tuple[Tensor, Tensor], val: tuple[Tensor, Tensor], test: tuple[Tensor, Tensor]) -> Tensor:
    """Whether a linear reader is right on each test row, (N,): ridge regression onto the classes, penalty by `val`."""
    centre, scale = train[0].mean(0), train[0].std(0).clamp_min(1e-6)

    def design(x: Tensor) -> Tensor:
        z = ((x - centre) / scale).double()
        return torch.cat([z, torch.ones(len(z), 1, dtype=torch.float64)], 1)

    x, y = design(train[0]), F.one_hot(train[1]).double()
    values, vectors = torch.linalg.eigh(x.T @ x)  # one decomposition serves every penalty
    target = vectors.T @ (x.T @ y)
    best: tuple[float, Tensor] | None = None
    for penalty in (1.0, 10.0, 100.0, 1000.0, 10_000.0):
        w = vectors @ (target / (values.clamp_min(0) + penalty)[:, None])
        right = float(((design(val[0]) @ w).argmax(1) == val[1]).double().mean())
        if best is None or right > best[0]:
            best = (right, w)
    if best is None:
        raise ValueError("no penalty was tried")
    return ((design(test[0]) @ best[1]).argmax(1) == test[1]).double()


def between_classes(values: Tensor, y: Tensor) -> Tensor:
    """Eta squared of each column, (C,): the share of the variance of values (N, C) that lies between the classes y."""
    total = (values - values.mean(0)).square().sum(0)
    counts = torch.bincount(y).double()
    means = torch.zeros(len(counts), values.shape[1], dtype=torch.float64).index_add_(0, y, values.double())
    means = means / counts[:, None].clamp_min(1)
    between = (counts[:, None] * (means - values.double().mean(0)).square()).sum(0)
    return torch.where(total > 1e-12, between / total.double().clamp_min(1e-12), torch.zeros_like(between))


def liked(values: Tensor, y: Tensor) -> Tensor:
    """The class for whose pictures each column of values (N, C) is highest on average, (C,)."""
    sums = torch.zeros(int(y.max()) + 1, values.shape[1]).index_add_(0, y, values)
    return (sums / torch.bincount(y)[:, None].clamp_min(1)).argmax(0)


def in_turn(told: Tensor, likes: Tensor, count: int) -> list[int]:
    """So many channels, each class's most telling one before any class's second, so that all kinds are shown."""
    best_first = told.argsort(descending=True).tolist()
    before: dict[int, int] = {}
    turn = {}
    for channel in best_first:
        before[int(likes[channel])] = turn[channel] = before.get(int(likes[channel]), -1) + 1
    return sorted(best_first, key=lambda channel: turn[channel])[:count]


def seen(net: Layers, layer: int, side: int) -> int:
    """The side in pixels of what the unit in the middle of a layer can see: where its gradient is not zero."""
    probe_net = Layers(net.first.shape[1], 2)
    for p in probe_net.parameters():
        nn.init.constant_(p, 1.0)  # nothing cancels and no ReLU is shut
    x = torch.rand(1, net.first.shape[1], side, side, requires_grad=True)
    h: Tensor = x
    for i, (kernel, pool) in enumerate(zip(probe_net.kernels, probe_net.pools, strict=True)):
        h = kernel(h)
        if i == layer:
            break
        h = F.avg_pool2d(h, pool)  # the same pixels as the largest of them, for whichever that is
    h[0, 0, h.shape[2] // 2, h.shape[3] // 2].backward()  # type: ignore[no-untyped-call]
    rows = x.grad.abs().sum((0, 1, 3)).nonzero()  # type: ignore[union-attr]
    return int(rows.max() - rows.min()) + 1


def gabors(side: int) -> Tensor:
    """Pairs of Gabor functions, even and odd, of many orientations, waves, widths and centres: (G, 2, K K)."""
    at = torch.arange(side).double() - (side - 1) / 2
    y, x = torch.meshgrid(at, at, indexing="ij")
    found = []
    for turn in torch.arange(12) * math.pi / 12:
        for wave in (3.0, 4.0, 5.5, 7.5, 10.0, 14.0):
            for width in (1.2, 1.8, 2.8):
                for cx in (-1.5, 0.0, 1.5):
                    for cy in (-1.5, 0.0, 1.5):
                        along = (x - cx) * torch.cos(turn) + (y - cy) * torch.sin(turn)
                        bump = torch.exp(-((x - cx) ** 2 + (y - cy) ** 2) / (2 * width**2))
                        phase = 2 * math.pi * along / wave
                        pair = torch.stack([(bump * torch.cos(phase)).flatten(), (bump * torch.sin(phase)).flatten()])
                        found.append(torch.linalg.qr(pair.T).Q.T)
    return torch.stack(found)


def like_gabor(kernels: Tensor) -> Tensor:
    """For each kernel (C, channels, K, K) the share of its energy in its strongest colour that one Gabor explains."""
    flat = kernels.double().flatten(2)  # (C, channels, K K)
    shape = torch.linalg.svd(flat, full_matrices=False).Vh[:, 0]  # (C, K K), unit length
    part = torch.einsum("gpk,ck->cgp", gabors(kernels.shape[-1]), shape).square().sum(2)
    return part.max(1).values


# ---------------------------------------------------------------- drawing
@torch.no_grad()
def exciting(net: Layers, x: Tensor, layer: int, channels: Sequence[int], window: int, count: int = 9) -> list[Tensor]:
    """For each channel the patches (count, 3, window, window) that excite it most, one a picture; grey beyond edges."""
    parts = [net.responses(p)[layer][:, list(channels)] for p in x.split(500)]
    r = torch.cat(parts)  # (N, channels, h, w)
    strongest, place = r.flatten(2).max(2)
    stride = x.shape[-1] // r.shape[-1]
    around = F.pad(x, [window] * 4, value=0.5)
    found = []
    for c in range(len(channels)):
        patches = []
        for i in strongest[:, c].topk(count).indices.tolist():
            row, column = divmod(int(place[i, c]), r.shape[-1])
            top, left = (int((p + 0.5) * stride) - window // 2 + window for p in (row, column))
            patches.append(around[i, :, top : top + window, left : left + window])
        found.append(torch.stack(patches))
    return found


def sheet(groups: Sequence[Tensor], across: int, gap: int = 1, between: int = 4) -> Any:
    """Groups of 9 patches as 3 x 3 blocks in rows of `across`, as one picture (H, W, 3)."""
    side = groups[0].shape[-1]
    block = 3 * side + 2 * gap
    down = -(-len(groups) // across)
    whole = torch.ones(3, down * (block + between) - between, across * (block + between) - between)
    for g, patches in enumerate(groups):
        top, left = (g // across) * (block + between), (g % across) * (block + between)
        for i, patch in enumerate(patches):
            a, b = top + (i // 3) * (side + gap), left + (i % 3) * (side + gap)
            whole[:, a : a + side, b : b + side] = patch.expand(3, side, side) if patch.shape[0] == 1 else patch
    return whole.permute(1, 2, 0).clamp(0, 1).numpy()


def kernels_drawn(net: Layers, raw: Layers) -> Figure:
    """The first layer's kernels, trained and as they began, in their colours."""
    drawing, axes = canvas(9, 3.6, columns=2)
    for ax, which, title in zip(axes, (net, raw), ("trained", "as they began"), strict=True):
        w = which.first
        w = w / w.abs().amax((1, 2, 3), keepdim=True) / 2 + 0.5
        side, across = w.shape[-1], 8
        down = -(-len(w) // across)
        whole = torch.ones(3, down * (side + 1) - 1, across * (side + 1) - 1)
        for i, kernel in enumerate(w):
            a, b = (i // across) * (side + 1), (i % across) * (side + 1)
            whole[:, a : a + side, b : b + side] = kernel
        ax.imshow(whole.permute(1, 2, 0).numpy(), interpolation="nearest")
        ax.set_title(f"First layer, {title}")
        _bare(ax)
    return Figure.of("kernels", "Kernels of 7 x 7 pixels in their colours; grey is zero.", drawing)


def patches_drawn(
    net: Layers, x: Tensor, layer: int, window: int, told: Tensor, likes: Tensor, classes: Sequence[str]
) -> Figure:
    """The patches that excite twelve channels of a layer most: those that say most about the class, of every class."""
    channels = in_turn(told, likes, 12)
    drawing, axes = canvas(9, 3.8, rows=2, columns=6)
    groups = exciting(net, x, layer, channels, window)
    for ax, patches, channel in zip(axes.flat, groups, channels, strict=True):
        ax.imshow(sheet([patches], across=1), interpolation="nearest")
        ax.set_title(classes[int(likes[channel])], fontsize=9.5, fontweight="normal")
        _bare(ax)
    text = (
        f"Layer {layer + 1}, whose units see {window} x {window} pixels: for twelve of its {len(told)} channels "
        "the nine test patches that excite it most, of nine pictures, grey beyond the edge; above them the class whose "
        "pictures excite it most on average."
    )
    return Figure.of(f"layer-{layer + 1}", text, drawing)


def _bare(ax: Any) -> None:
    ax.grid(False)
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_visible(False)


# ---------------------------------------------------------------- findings
@dataclass(frozen=True)
class Reading:
    """Of one net: whether each layer's reader is right, (L) of (N,), eta squared of its channels, (L) of (C,), and
    the class that excites each most, (L) of (C,).
    """

    right: list[Tensor]
    told: list[Tensor]
    likes: list[Tensor]


def reading(net: Layers, data: Dataset, rows: int) -> Reading:
    """Read every layer of a net."""
    index = {"train": data.splits["train"][:rows], "val": data.splits["val"], "test": data.splits["test"]}
    y = {s: data.y[i] for s, i in index.items()}
    x = {s: features(net, data.batch(i).x) for s, i in index.items()}
    right, told, likes = [], [], []
    for layer in range(len(net.pools)):
        pairs = {s: (x[s][layer], y[s]) for s in index}
        right.append(probe(pairs["train"], pairs["val"], pairs["test"]))
        answers = x["test"][layer].unflatten(1, (-1, 16)).mean(2)  # (N, C)
        told.append(between_classes(answers, y["test"]))
        likes.append(liked(answers, y["test"]))
    return Reading(right, told, likes)


def findings(data: Dataset, net: Layers, raw: Layers, rows: int = 6000) -> Iterator[Finding]:
    """What the layers of a trained net are, beside those of the same net untrained."""
    found = {"trained": reading(net, data, rows), "untrained": reading(raw, data, rows)}
    first, n = found["trained"], len(data.splits["test"])
    settings = {"rows read": rows, "reader": "ridge regression", "test rows": n}
    side = int(data.batch(data.splits["test"][:1]).x.shape[-1])
    windows = [seen(net, i, 4 * side) for i in range(len(first.right))]
    for which, read in found.items():
        for i, right in enumerate(read.right):
            share = float(right.mean())
            text = f"hierarchy/reader of layer {i + 1}, {which}"
            yield Measure(text, share, "1", n, "higher", SOURCE, wilson(int(right.sum()), n), "test", settings)
    for i in range(1, len(first.right)):
        more = compare(first.right[i].numpy(), first.right[i - 1].numpy())
        text = f"hierarchy/reader of layer {i + 1} over {i}"
        step = Measure(text, more.difference, "1", n, "higher", SOURCE, more.interval, "test", settings)
        yield Check(measure=step, at_least=0.0)
    last = compare(first.right[-1].numpy(), found["untrained"].right[-1].numpy())
    text = "hierarchy/reader of the last layer, trained over untrained"
    yield Check(
        measure=Measure(text, last.difference, "1", n, "higher", SOURCE, last.interval, "test", settings), at_least=0.05
    )
    told = [float(t.mean()) for t in first.told]
    for i, values in enumerate(first.told):
        yield _of_channels(f"hierarchy/variance between classes, layer {i + 1}", values)
    grows = min(b - a for a, b in zip(told, told[1:], strict=False))
    yield Check(
        measure=Measure("hierarchy/least growth of it from layer to layer", grows, "1", len(told), "higher", SOURCE),
        at_least=0.0,
    )
    began = like_gabor(raw.first)
    became = like_gabor(net.first)
    yield _of_channels("hierarchy/share of a first kernel that one Gabor explains, untrained", began)
    yield _of_channels("hierarchy/share of a first kernel that one Gabor explains, trained", became)
    gain = _of_channels("hierarchy/that share, trained less untrained, same kernel", became - began)
    yield Check(measure=gain, at_least=0.0)
    low = math.nan if gain.interval is None else gain.interval[0]
    yield Check(measure=Measure(f"{gain.name}, lower end", low, "1", gain.n, "higher", gain.source), at_least=0.0)
    yield Table(
        "layers",
        "What a unit sees, how well the layer can be read, and how much of a channel's variance lies between classes.",
        ("layer", "sees, pixels", "reader right, %", "untrained, %", "between classes", "untrained"),
        tuple(
            (
                i + 1,
                windows[i],
                100 * float(first.right[i].mean()),
                100 * float(found["untrained"].right[i].mean()),
                told[i],
                float(found["untrained"].told[i].mean()),
            )
            for i in range(len(windows))
        ),
    )
    yield kernels_drawn(net, raw)
    x = data.batch(data.splits["test"][:4000]).x
    for i, window in enumerate(windows):
        yield patches_drawn(net, x, i, min(window, side), first.told[i], first.likes[i], data.classes)
    yield layers_drawn(found)


def layers_drawn(found: Mapping[str, Reading]) -> Figure:
    """The reader's accuracy and eta squared by layer, trained and untrained."""
    drawing, axes = canvas(9, 3.6, columns=2)
    for (which, read), colour in zip(found.items(), (COLOURS[0], COLOURS[6]), strict=True):
        at = range(1, len(read.right) + 1)
        share = [100 * float(r.mean()) for r in read.right]
        ends = [wilson(int(r.sum()), len(r)) or (0.0, 0.0) for r in read.right]
        bars = [[s - 100 * e[0] for s, e in zip(share, ends, strict=True)]]
        bars.append([100 * e[1] - s for s, e in zip(share, ends, strict=True)])
        axes[0].errorbar(at, share, yerr=bars, color=colour, marker="o", linewidth=2, capsize=3, label=which)
        axes[1].plot(at, [float(t.mean()) for t in read.told], "o-", color=colour, linewidth=2, label=which)
        for i, t in zip(at, read.told, strict=True):
            axes[1].plot([i] * len(t), t, ".", color=colour, alpha=0.18, markersize=4)
    axes[0].set_title("A linear reader of the layer")
    axes[0].set_ylabel("test rows right, %")
    axes[1].set_title("Variance of a channel between classes")
    axes[1].set_ylabel("share, a dot for each channel")
    for ax in axes:
        ax.set_xlabel("layer")
        ax.set_xticks(range(1, len(found["trained"].right) + 1))
        legend(ax, "upper left")
    return Figure.of("layers", "With depth a layer says more of the class, if the net was trained.", drawing)


def _of_channels(name: str, values: Tensor) -> Measure:
    x = values.double().numpy()
    interval = bootstrap({"": mean(x)})[""]
    how = {"interval": "BCa bootstrap over channels"}
    return Measure(name, float(x.mean()), "1", len(x), "higher", SOURCE, interval, "test", how)


@experiment(
    chapter="Defining deep learning",
    claim="Layer upon layer, a net's units see more of a picture and say more about its class, from edges to parts.",
    source=SOURCE,
    seconds=55,
    data=("cifar10",),
)
def hierarchical_features(lab: Lab) -> Iterator[Finding]:
    """A four-layer convolutional net on CIFAR-10: its kernels, what excites each layer, and how layers can be read."""
    data = fewer(load("cifar10"), train=15_000, val=2000, seed=lab.seed)
    net, raw = trained(data, lab.seed, epochs=4)
    lab.say("trained")
    yield from findings(data, net, raw)
