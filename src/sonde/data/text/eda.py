"""EDA: synonyms, insertions, swaps and deletions at random.

Wei and Zou, EDA: easy data augmentation techniques for boosting performance on text classification tasks, 2019, section
2: n = alpha l words of a sentence of l words are changed (at least one, as in the authors' code, rounded down), or each
is deleted with probability alpha. Four differences: sentences keep their case and punctuation; a synonym is drawn
evenly also where one is inserted (their code takes the first), and may then come last in the sentence; the two words of
a swap always differ in place; and draws are a function of (seed, row).

Entry: text augmentation; synonym replacement.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import TypeVar

from sonde.core.errors import SondeError

from .lexicon import Lexicon

T = TypeVar("T")

_EDGES = re.compile(r"^(\W*)(.*?)(\W*)$", re.DOTALL)  # punctuation before a word, the word, punctuation after it


# ---------------------------------------------------------------- the four operations
def replace_synonyms(words: Sequence[str], n: int, lexicon: Lexicon, draw: Random) -> list[str]:
    """Replace up to n different words by one of their synonyms each, wherever they stand; words without one stay.

    Case and punctuation are kept: "Good," becomes "Fine,".

    >>> replace_synonyms("A good film , Good film".split(), 2, Lexicon({"good": ["fine"]}), Random(0))
    ['A', 'fine', 'film', ',', 'Fine', 'film']
    """
    known = list(dict.fromkeys(core for word in words if lexicon.of(core := _core(word))))
    chosen = {word: _choice(lexicon.of(word), draw) for word in _shuffled(known, draw)[:n]}
    out: list[str] = []
    for word in words:
        synonym = chosen.get(_core(word))
        out += [word] if synonym is None else _dressed(synonym, word).split()
    return out


def insert_synonyms(words: Sequence[str], n: int, lexicon: Lexicon, draw: Random) -> list[str]:
    """n times, put a synonym of a random word of the sentence at a random place of it.

    >>> insert_synonyms(["a", "film"], 2, Lexicon({"film": ["movie"]}), Random(1))
    ['movie', 'movie', 'a', 'film']
    """
    out = list(words)
    for _ in range(n):
        known = [core for word in out if lexicon.of(core := _core(word))]
        if not known:
            break
        place = _below(len(out) + 1, draw)
        out[place:place] = _choice(lexicon.of(_choice(known, draw)), draw).split()
    return out


def swap_words(words: Sequence[str], n: int, draw: Random) -> list[str]:
    """n times, swap two words.

    >>> swap_words(["a", "b"], 1, Random(0))
    ['b', 'a']
    """
    out = list(words)
    for _ in range(n if len(out) > 1 else 0):
        i, j = _below(len(out), draw), _below(len(out) - 1, draw)
        j += j >= i
        out[i], out[j] = out[j], out[i]
    return out


def delete_words(words: Sequence[str], probability: float, draw: Random) -> list[str]:
    """Leave each word out with the given probability; if none is left, one of them stays.

    >>> delete_words(["a", "b", "c"], 1.0, Random(0)) in (["a"], ["b"], ["c"])
    True
    """
    out = [word for word in words if draw.random() >= probability]
    return out if out or not words else [_choice(words, draw)]


# ---------------------------------------------------------------- a set of sentences
@dataclass(frozen=True, slots=True)
class Augmented:
    """Sentences, and the row of the original that each was made of."""

    texts: list[str]
    rows: list[int]


@dataclass(frozen=True)
class EDA:
    """Makes changed copies of sentences: each by one of four operations, which change a share of the words.

    lexicon: synonyms, for the first two operations.
    synonym, insertion, swap: alpha of the operation, in [0, 1]: n = max(1, alpha l) words are changed of l. deletion:
        the chance of each word. 0 leaves the operation out. For 500 sentences the authors recommend 0.05 for all and 16
        copies (table 3).
    copies: how many changed ones of each sentence.
    seed: of all draws, together with the row.

    >>> EDA(synonym=0, insertion=0, swap=0.3, deletion=0, copies=1)(["not a bad film at all"])
    Augmented(texts=['not a bad film at all', 'not a at film bad all'], rows=[0, 0])
    """

    lexicon: Lexicon = Lexicon({})  # noqa: RUF009  # it is never changed
    synonym: float = 0.1
    insertion: float = 0.1
    swap: float = 0.1
    deletion: float = 0.1
    copies: int = 9
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("synonym", "insertion", "swap", "deletion"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise SondeError(f"{name}={getattr(self, name)} is outside [0, 1]", f"choose {name} between 0 and 1")
        if self.copies < 1:
            raise SondeError(f"EDA(copies={self.copies}) makes nothing", "choose 1 copy or more")
        if not self.operations:
            raise SondeError("EDA has no operation: all are 0", "give one of synonym, insertion, swap and deletion")
        if not len(self.lexicon) and (self.synonym or self.insertion):
            raise SondeError(
                "EDA has no lexicon to take synonyms from",
                "give lexicon=read_lexicon(path) or read_wordnet(folder), or say synonym=0, insertion=0",
            )

    @property
    def operations(self) -> tuple[str, ...]:
        """Those that are not left out."""
        return tuple(name for name in ("synonym", "insertion", "swap", "deletion") if getattr(self, name))

    def __call__(self, texts: Sequence[str]) -> Augmented:
        """Every sentence, followed by its changed copies. Row i of `texts` has the draws of row i."""
        out, rows = [], []
        for row, text in enumerate(texts):
            made = [text, *(" ".join(words) for words in self.variants(text.split(), row))]
            out += made
            rows += [row] * len(made)
        return Augmented(out, rows)

    def variants(self, words: Sequence[str], row: int) -> list[list[str]]:
        """The changed copies of one sentence: as many by each operation, shuffled, and cut off at `copies`."""
        draw = Random(f"{self.seed}/{row}")
        turns = [name for name in self.operations for _ in range(self.copies // len(self.operations) + 1)]
        made = [self._changed(name, words, draw) for name in turns]
        return _shuffled(made, draw)[: self.copies]

    def variant(self, words: Sequence[str], row: int, number: int) -> list[str]:
        """One changed copy, by an operation drawn evenly: a function of (seed, row, number), for copies without end."""
        draw = Random(f"{self.seed}/{row}/{number}")
        return self._changed(_choice(self.operations, draw), words, draw)

    def _changed(self, name: str, words: Sequence[str], draw: Random) -> list[str]:
        alpha: float = getattr(self, name)
        n = max(1, int(alpha * len(words)))
        if name == "synonym":
            return replace_synonyms(words, n, self.lexicon, draw)
        if name == "insertion":
            return insert_synonyms(words, n, self.lexicon, draw)
        return swap_words(words, n, draw) if name == "swap" else delete_words(words, alpha, draw)


# ---------------------------------------------------------------- words and draws
def _core(word: str) -> str:
    """A word without the punctuation around it, in lower case; all of it where it is punctuation."""
    found = _EDGES.match(word)
    return (found[2] if found and found[2] else word).lower()


def _dressed(synonym: str, word: str) -> str:
    """A synonym in the case and punctuation of the word that it replaces."""
    found = _EDGES.match(word)
    before, core, after = found.groups() if found and found[2] else ("", word, "")
    if core.isupper() and len(core) > 1:
        synonym = synonym.upper()
    elif core[:1].isupper():
        synonym = synonym[:1].upper() + synonym[1:]
    return f"{before}{synonym}{after}"


def _below(n: int, draw: Random) -> int:
    """A number below n. `random()` alone is promised to stay the same over versions of Python."""
    return int(draw.random() * n)


def _choice(values: Sequence[T], draw: Random) -> T:
    return values[_below(len(values), draw)]


def _shuffled(values: Sequence[T], draw: Random) -> list[T]:
    out = list(values)
    for i in range(len(out) - 1, 0, -1):  # Fisher and Yates
        j = _below(i + 1, draw)
        out[i], out[j] = out[j], out[i]
    return out
