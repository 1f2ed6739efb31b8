"""One epoch of a task, written the way each library asks for it.

Every function takes the task, the rows x (N, ...), y (N,), a torch network with the initial weights, and the order
(N,) in which the rows are to be seen; it builds everything that can be built beforehand and returns a `Trial`. All
use Adam, fused where the library accepts a torch optimiser, on the CPU, and nothing that watches: no log, progress
bar, checkpoint, validation, gradient clipping or schedule.
"""

# N rows, C classes

from __future__ import annotations

import functools
import importlib.util
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812 - the field's name for it
from _tasks import Task
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset


@dataclass(frozen=True)
class Trial:
    """A training run, ready to start.

    train: what is timed. trained: the torch network with the final weights.
    steps: optimiser steps taken, for a library whose optimiser is not a torch one; None to let torch count.
    """

    train: Callable[[], object]
    trained: Callable[[], nn.Module]
    steps: Callable[[], int] | None = None


Build = Callable[[Task, Tensor, Tensor, nn.Module, Tensor], Trial]


@dataclass(frozen=True)
class Contender:
    """A way to train. package: what must be installed. imports: what a script of it has to import."""

    title: str
    package: str
    imports: str
    build: Build

    @property
    def installed(self) -> bool:
        """Whether its package can be found."""
        return importlib.util.find_spec(self.package) is not None


def bare_tensor(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor) -> Trial:
    """The loop everyone writes: rows picked as tensors."""
    optimiser = torch.optim.Adam(net.parameters(), **vars(task.adam), fused=True)

    def train() -> None:
        for index in order.split(task.batch_size):
            loss = F.cross_entropy(net(x[index]), y[index])
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return Trial(train, lambda: net)


def loader(task: Task, x: Tensor, y: Tensor, order: Tensor) -> DataLoader[tuple[Tensor, Tensor]]:
    """A DataLoader with its defaults, in the given order."""
    return DataLoader(TensorDataset(x, y), batch_size=task.batch_size, sampler=order.tolist())


def bare_loader(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor) -> Trial:
    """The loop of the tutorials: rows from a DataLoader."""
    optimiser = torch.optim.Adam(net.parameters(), **vars(task.adam), fused=True)
    batches = loader(task, x, y, order)

    def train() -> None:
        for xb, yb in batches:
            loss = F.cross_entropy(net(xb), yb)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()

    return Trial(train, lambda: net)


def sonde(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor) -> Trial:
    """Sonde's own order is the one that all others are given. Its checks for NaN stay on, as they are by default."""
    from sonde.core import Budget, Run, fit
    from sonde.data.rows import Rows
    from sonde.methods import Descend
    from sonde.objectives import Classify

    run = Run(Classify(net), [Descend(functools.partial(torch.optim.Adam, **vars(task.adam), fused=True))])
    source = Rows(x, y, batch_size=task.batch_size, seed=0)
    return Trial(lambda: fit(run, source, Budget(epochs=1)), lambda: net)


def lightning(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor) -> Trial:
    """`barebones=True` is Lightning's own switch for measuring its overhead: everything optional is off."""
    return _lightning(task, x, y, net, order, barebones=True)


def lightning_usual(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor) -> Trial:
    """Lightning as people train with it, without what prints or writes: logger, checkpoints, progress bar, summary."""
    off = ("logger", "enable_checkpointing", "enable_progress_bar", "enable_model_summary")
    return _lightning(task, x, y, net, order, **dict.fromkeys(off, False))


def _lightning(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor, **switches: bool) -> Trial:
    import logging

    import lightning as lit

    logging.getLogger("lightning.pytorch").setLevel(logging.ERROR)

    class Module(lit.LightningModule):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def training_step(self, batch: Any, index: int) -> Tensor:
            xb, yb = batch
            return F.cross_entropy(self.net(xb), yb)

        def configure_optimizers(self) -> torch.optim.Optimizer:
            return torch.optim.Adam(self.parameters(), **vars(task.adam), fused=True)

    module, batches = Module(), loader(task, x, y, order)
    trainer = lit.Trainer(max_epochs=1, accelerator="cpu", devices=1, **switches)
    return Trial(lambda: trainer.fit(module, batches), lambda: net)


def trainer(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor) -> Trial:
    """Hugging Face `Trainer`, with logs, saves, clipping, the progress bar and the NaN filter of its logs off."""
    from transformers import PrinterCallback, Trainer, TrainingArguments

    class Model(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.net = net

        def forward(self, x: Tensor, labels: Tensor) -> dict[str, Tensor]:
            logits = self.net(x)
            return {"loss": F.cross_entropy(logits, labels), "logits": logits}

    class Items(torch.utils.data.Dataset[dict[str, Tensor]]):
        def __len__(self) -> int:
            return len(x)

        def __getitem__(self, i: int) -> dict[str, Tensor]:
            return {"x": x[i], "labels": y[i]}

    class Ordered(Trainer):
        def _get_train_sampler(self, train_dataset: Any = None) -> Any:
            return order.tolist()

    settings = TrainingArguments(
        output_dir=tempfile.gettempdir(),  # nothing is written
        num_train_epochs=1,
        per_device_train_batch_size=task.batch_size,
        max_grad_norm=0.0,
        logging_strategy="no",
        save_strategy="no",
        eval_strategy="no",
        report_to=[],
        disable_tqdm=True,
        logging_nan_inf_filter=False,
        remove_unused_columns=False,
        dataloader_pin_memory=False,
        use_cpu=True,
    )
    model = Model()
    optimiser = torch.optim.Adam(model.parameters(), **vars(task.adam), fused=True)
    constant = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: 1.0)
    runner = Ordered(model=model, args=settings, train_dataset=Items(), optimizers=(optimiser, constant))
    runner.remove_callback(PrinterCallback)
    return Trial(runner.train, lambda: net)


def keras(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor) -> Trial:
    """Keras 3 on the torch backend with its own Adam, on arrays that already lie in the order to be seen."""
    import keras as k

    k.config.set_dtype_policy(str(x.dtype).removeprefix("torch."))
    k.config.set_floatx(str(x.dtype).removeprefix("torch."))
    first = {"data_format": "channels_first"}  # as torch lays images out, so that nobody transposes
    layers: list[Any] = [k.Input(task.shape)]
    for m in net:  # type: ignore[attr-defined]  # a Sequential
        match m:
            case nn.Linear():
                layers.append(k.layers.Dense(m.out_features))
            case nn.Conv2d():
                padding = "same" if m.padding != (0, 0) else "valid"
                layers.append(k.layers.Conv2D(m.out_channels, m.kernel_size, padding=padding, **first))
            case nn.AvgPool2d():
                layers.append(k.layers.AveragePooling2D(m.kernel_size, **first))
            case nn.Flatten():
                layers.append(k.layers.Flatten())
            case nn.Tanh() | nn.ReLU():
                layers.append(k.layers.Activation(type(m).__name__.lower()))
    model = k.Sequential(layers)
    to_keras = {2: (1, 0), 4: (2, 3, 1, 0)}  # (out, in) -> (in, out); (out, in, h, w) -> (h, w, in, out)
    to_torch = {2: (1, 0), 4: (3, 2, 0, 1)}
    model.set_weights(
        [p.detach().permute(to_keras[p.dim()] if p.dim() > 1 else (0,)).numpy() for p in net.parameters()]
    )
    model.compile(
        optimizer=k.optimizers.Adam(task.adam.lr, *task.adam.betas, task.adam.eps),
        loss=k.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    xs, ys = x[order].numpy(), y[order].numpy()

    def trained() -> nn.Module:
        with torch.no_grad():
            for p, w in zip(net.parameters(), model.get_weights(), strict=True):
                found = torch.from_numpy(w)
                p.copy_(found.permute(to_torch[p.dim()]) if p.dim() > 1 else found)
        return net

    return Trial(
        lambda: model.fit(xs, ys, batch_size=task.batch_size, epochs=1, shuffle=False, verbose=0),
        trained,
        lambda: int(model.optimizer.iterations),
    )


def skorch(task: Task, x: Tensor, y: Tensor, net: nn.Module, order: Tensor) -> Trial:
    """skorch with `callbacks="disable"`, which drops the default ones (timer, score, log) too."""
    from skorch import NeuralNetClassifier

    model = NeuralNetClassifier(
        net,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.Adam,
        optimizer__fused=True,
        optimizer__betas=task.adam.betas,
        optimizer__eps=task.adam.eps,
        lr=task.adam.lr,
        max_epochs=1,
        batch_size=task.batch_size,
        iterator_train__sampler=order.tolist(),
        train_split=None,
        callbacks="disable",
        verbose=0,
    ).initialize()
    return Trial(lambda: model.partial_fit(x, y), lambda: net)


BASE = "bare"
CONTENDERS = {
    "bare": Contender("bare loop, tensors", "torch", "from torch import nn", bare_tensor),
    "bare-loader": Contender("bare loop, DataLoader", "torch", "import torch.utils.data", bare_loader),
    "sonde": Contender("Sonde", "sonde", "import sonde.core, sonde.objectives, sonde.methods, sonde.data.rows", sonde),
    "lightning": Contender("Lightning, barebones", "lightning", "import lightning", lightning),
    "lightning-usual": Contender("Lightning, quiet", "lightning", "import lightning", lightning_usual),
    "trainer": Contender("HF Trainer", "transformers", "from transformers import Trainer, TrainingArguments", trainer),
    "keras": Contender("Keras 3 on torch", "keras", "import keras", keras),
    "skorch": Contender("skorch", "skorch", "from skorch import NeuralNetClassifier", skorch),
}
