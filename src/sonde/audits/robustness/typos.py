"""Accuracy on texts that were typed badly: letters swapped, left out, doubled, or hit beside, in more and more words.

Belinkov and Bisk, Synthetic and natural noise both break neural machine translation, 2018; see
`sonde.corruptions.typos`. What the corruptions of pictures are to a model of pictures.

Entry: audits; distribution shift.
"""

# N texts, K kinds, S shares of words

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from sonde.core import Clock, Subject, Table, Texts
from sonde.core.finding import Shown
from sonde.corruptions.typos import SHARES, TYPOS, mistyped

from .._show import short
from ._asking import affordable, decided, drawn, no_classes
from ._severities import BySeverity, clean_accuracy, heat_map, measures, table

SOURCE = "Belinkov and Bisk, 2018, sec. 3.2; Pruthi et al., 2019, sec. 2"
EXAMPLES = 6


class Typos(BySeverity):
    """Accuracy on texts with typing errors.

    rows: of the split at most, drawn by `seed`. split: which.
    """

    cost = 1.0

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if reason := no_classes(subject):
            return reason
        return "" if subject.kind == "text" else "its rows are no texts"

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        chosen = drawn(subject, self.split, self.rows, self.seed)
        chosen = affordable(subject, chosen, 1.0 + len(TYPOS) * len(SHARES), clock)
        truth, texts = chosen.y.cpu(), Texts(chosen.x)
        before = decided(subject, chosen, texts)
        clean = (before == truth).numpy()
        how = {"rows": len(clean), "seed": self.seed}
        yield clean_accuracy("typos", clean, SOURCE, self.split, how)
        right = np.zeros((len(clean), len(TYPOS), len(SHARES)))
        examples: list[tuple[str, str, str]] = []
        for k, kind in enumerate(TYPOS):
            for s, share in enumerate(SHARES):
                typed = Texts(mistyped(texts, kind, share, self.seed))
                after = decided(subject, chosen, typed)
                right[:, k, s] = (after == truth).numpy()
                # The fewest slips first: of each kind and share one text whose right answer was lost to them.
                lost = np.flatnonzero(clean & (after != truth).numpy())
                if len(lost) and len(examples) < EXAMPLES:
                    i = int(lost[0])
                    answered = subject.classes[int(after[i])] if int(after[i]) >= 0 else "no number"
                    examples.append(
                        (short(typed[i], 160), short(subject.classes[int(truth[i])], 40), short(answered, 40))
                    )
            clock.at((k + 1) / len(TYPOS))
        kinds, shares = list(TYPOS), [f"{100 * share:.0f} %" for share in SHARES]
        yield from measures("typos", kinds, clean.astype(float), right, SOURCE, self.split, how)
        yield table("typos", "typing error", kinds, shares, clean.astype(float), right)
        yield heat_map("typos", "of the words of four letters or more", kinds, shares, clean.astype(float), right)
        if examples:
            columns = ("text", "is", "answered")
            yield Table("mistyped", "Some texts whose right answer was lost.", columns, tuple(examples))
