"""The quality of the answers on the test rows: the measures that go with the task, each with its interval.

Entry: audits.
"""

from __future__ import annotations

from collections.abc import Iterator

from sonde.core import Audit, Clock, Subject
from sonde.core.finding import Shown

from .classes import class_findings, label_findings
from .classification import classification
from .multilabel import multilabel
from .regression import regression
from .residuals import residual_findings


class Quality(Audit):
    """How good the answers are on rows that were not trained on."""

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        y, guess = subject.rows().y, subject.answers()
        if subject.task == "regression":
            targets = getattr(getattr(subject.schema, "target", None), "columns", None)
            names = list(targets or [str(t) for t in range(guess.shape[1])])
            yield from regression(guess, y, names)
            yield from residual_findings(guess, y, names)
        elif subject.task == "multilabel":
            yield from multilabel(guess, y, subject.classes)
            yield from label_findings(guess, y, subject.classes)
        else:
            yield from classification(guess, y, subject.classes)
            yield from class_findings(guess, y, subject.classes)
