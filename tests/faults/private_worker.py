"""The worker of `worker.py`, training privately: the noise, the sampling and the accountant must survive a kill.

python -m tests.faults.private_worker FOLDER [KILLS SEED]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from torch import nn

from sonde.core import Budget, Build, Recipe, Run, Stage
from sonde.methods import DPSGD, EMA, PrivateInputs, adamw
from sonde.nets.layers import Normalise
from sonde.objectives import Classify
from sonde.privacy import spent_by
from tests.faults import worker
from tests.support import mlp

plain = worker.result


def classifier() -> Classify:
    return Classify(nn.Sequential(Normalise(4), mlp(4, 16, 3, between=lambda n: nn.Dropout(0.3))))


def recipe() -> Recipe:
    methods = (
        Build(PrivateInputs, epsilon=1.0, insecure_seed=3),
        Build(DPSGD, noise_multiplier=0.8, clipping="adaptive", microbatch=10, insecure_seed=5),
        Build(EMA, decay=0.9),
        Build(worker.validate),
        Build(adamw, lr=0.02),
    )
    stages = tuple(Stage(source=Build(worker.rows, seed=i), budget=Budget(steps=n)) for i, n in enumerate(worker.STEPS))
    return Recipe(name="private", seed=11, objective=Build(classifier), methods=methods, stages=stages)


def result(run: Run, folder: Path) -> dict[str, Any]:
    spent = spent_by(run.methods)
    assert spent is not None
    return {"epsilon": spent.epsilon, "spent": str(spent), **plain(run, folder)}


worker.recipe, worker.result = recipe, result  # what the functions there call

if __name__ == "__main__":
    worker.main(Path(sys.argv[1]), *map(int, sys.argv[2:]))
