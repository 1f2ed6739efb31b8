"""Texts attacked in their own domain: which decisions fall when words are swapped for synonyms.

Ren, Deng, He and Che, Generating natural language adversarial examples through probability weighted word saliency,
2019; see `sonde.attacks.text`. A text subject's x is a list of strings, which its `predict` reads. Whether a sentence
still means the same is up to the lexicon.

Entry: adversarial examples; audits.
"""

# N texts, C classes

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sonde.attacks.text import Swapped, Words, swap_synonyms
from sonde.core import Audit, Clock, Measure, SondeError, Subject
from sonde.core.finding import Shown, Table
from sonde.data.text import Lexicon, read_lexicon, read_wordnet

from ..quality.intervals import bootstrap, mean, settings, wilson
from ._asking import no_classes

SOURCE = "Ren et al., 2019"
PIECES = re.compile(r"\w+(?:[-']\w+)*|[^\w\s]")  # words, and each mark by itself
EXAMPLES = 8
LONGEST = 300  # words and marks of a text that are looked at, from its beginning: the cost grows with their square


class SynonymSwaps(Audit):
    """Which decisions about texts fall when words are swapped for synonyms.

    lexicon: a file that `sonde.data.text.read_lexicon` reads, or a folder of WordNet. most: words swapped at most,
        among the first 300 words and marks of a text.
    rows: of the split at most, drawn by `seed`.
    """

    cost = 2.0

    def __init__(self, lexicon: str = "", most: int = 10, rows: int = 200, split: str = "test", seed: int = 0) -> None:
        if most < 1 or rows < 1:
            raise SondeError(f"SynonymSwaps(most={most}, rows={rows}) swaps nothing", "choose 1 or more of each")
        self.lexicon, self.most, self.rows, self.split, self.seed = lexicon, most, rows, split, seed

    def refuses(self, subject: Subject) -> str:
        """See `Audit.refuses`."""
        if reason := no_classes(subject):
            return reason
        x = subject.splits[self.split].x if self.split in subject.splits else None
        if not isinstance(x, list | tuple) or not x or not all(isinstance(text, str) for text in x):
            return "its rows are no texts"
        return "" if self.lexicon else "it has no synonyms to swap words for: lexicon=FILE"

    def run(self, subject: Subject, clock: Clock) -> Iterator[Shown]:
        """See `Audit.run`."""
        path = Path(self.lexicon)
        lexicon = read_wordnet(path) if path.is_dir() else read_lexicon(path)
        texts: Sequence[str] = subject.splits[self.split].x
        generator = torch.Generator().manual_seed(self.seed)
        chosen = torch.randperm(len(texts), generator=generator)[: self.rows].sort().values.tolist()
        truth = subject.splits[self.split].y[chosen]
        found: list[Swapped] = []
        for i, row in enumerate(chosen):
            found.append(attacked(subject, texts[row], lexicon, self.most))
            clock.at((i + 1) / len(chosen))
            if clock.left <= 0:
                break
        yield from self._measures(found, truth[: len(found)].tolist())
        if flips := [s for s in found if s.flipped][:EXAMPLES]:
            yield _examples(flips, subject.classes)

    def _measures(self, found: list[Swapped], truth: list[int]) -> Iterator[Measure]:
        how = {"most": self.most, "lexicon": Path(self.lexicon).name, "seed": self.seed}
        n = len(found)
        right = sum(s.before == t for s, t in zip(found, truth, strict=True))
        held = sum(s.before == t and not s.flipped for s, t in zip(found, truth, strict=True))
        flipped = sum(s.flipped for s in found)
        for name, hits, better in (("flipped_share", flipped, "lower"), ("attacked_accuracy", held, "higher")):
            ends = wilson(hits, n)
            yield Measure(
                f"robustness/synonym_swaps/{name}", hits / n, "1", n, better, SOURCE, ends, self.split,  # type: ignore[arg-type]
                settings("wilson", ends, **how, **({"clean": right / n} if name == "attacked_accuracy" else {})),
            )  # fmt: skip
        swaps = np.array([float(len(s.swaps)) for s in found if s.flipped])
        ends = bootstrap({"": mean(swaps, 0.0)})[""] if len(swaps) > 1 else None
        value = float(swaps.mean()) if len(swaps) else math.nan
        why = {} if len(swaps) else {"omitted": "no decision fell"}
        yield Measure(
            "robustness/synonym_swaps/swaps_per_flip", value, "word", len(swaps), "higher", SOURCE, ends, self.split,
            {**settings("bca", ends, **how), **why},
        )  # fmt: skip


def attacked(subject: Subject, text: str, lexicon: Lexicon, most: int) -> Swapped:
    """One text after the attack; a synonym has a capital where the word had one."""
    pieces = PIECES.findall(text)
    rest = pieces[LONGEST:]

    def predict(sentences: list[Words]) -> Tensor:
        with torch.no_grad():
            return subject.predict([" ".join([*words, *rest]) for words in sentences]).cpu()

    def synonyms(word: str) -> list[str]:
        return [s[:1].upper() + s[1:] if word[:1].isupper() else s for s in lexicon.of(word)]

    return swap_synonyms(predict, pieces[:LONGEST], synonyms, most)


def _examples(flips: Sequence[Swapped], classes: Sequence[str]) -> Table:
    rows = [
        (
            ", ".join(f"{word} → {s}" for _, word, s in f.swaps),
            " ".join(f.words)[:160],
            classes[f.before],
            classes[f.after],
        )
        for f in flips
    ]
    return Table("synonym_flips", "Some of the flips.", ("swapped", "text", "before", "after"), tuple(rows))
