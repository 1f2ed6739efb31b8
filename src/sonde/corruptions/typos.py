"""Words as they come out of a keyboard: letters swapped, left out, doubled, or hit beside.

Belinkov and Bisk, Synthetic and natural noise both break neural machine translation, 2018, sec. 3.2: swaps and keyboard
slips as theirs; Pruthi, Dhingra and Lipton, Combating adversarial misspellings with robust word recognition, 2019, sec.
2: letters left out and put in. The first and the last letter of a word stay, which people read over; so words of fewer
than four letters are left alone.

Entry: distribution shift.
"""

# N texts, W words

from __future__ import annotations

import random
import re
from collections.abc import Callable, Mapping, Sequence

Slip = Callable[[str, int, random.Random], str]
"""A word, the place of one of its inner letters and a generator -> the word mistyped."""

WORD = re.compile(r"[^\W\d_]{4,}")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _swap(word: str, i: int, rng: random.Random) -> str:
    """Two neighbours change places; of a word of four letters the middle two."""
    i = min(i, len(word) - 3)
    return word[:i] + word[i + 1] + word[i] + word[i + 2 :]


def _drop(word: str, i: int, rng: random.Random) -> str:
    return word[:i] + word[i + 1 :]


def _double(word: str, i: int, rng: random.Random) -> str:
    return word[:i] + word[i] + word[i:]


def _slip(word: str, i: int, rng: random.Random) -> str:
    """The key beside; a letter that is on no key of these stays."""
    near = beside(word[i].lower())
    if not near:
        return word
    hit = near[rng.randrange(len(near))]
    return word[:i] + (hit.upper() if word[i].isupper() else hit) + word[i + 1 :]


TYPOS: Mapping[str, Slip] = {"swap": _swap, "drop": _drop, "double": _double, "keyboard": _slip}
SHARES = (0.05, 0.1, 0.2, 0.4)
"""Of the words that are mistyped: the severities."""


def beside(letter: str) -> str:
    """The letters on the keys beside one, on an English keyboard; "" for what is none of its letters.

    >>> beside("a"), beside("p"), beside("é")
    ('qwsz', 'ol', '')
    """
    for r, row in enumerate(ROWS):
        if (c := row.find(letter)) >= 0:
            above = ROWS[r - 1][c : c + 2] if r else ""  # each row stands half a key to the right of the one above
            below = ROWS[r + 1][max(0, c - 1) : c + 1] if r + 1 < len(ROWS) else ""
            return above + row[max(0, c - 1) : c] + row[c + 1 : c + 2] + below
    return ""


def mistyped(texts: Sequence[str], kind: str, share: float, seed: int = 0) -> list[str]:
    """N texts in which each word of four letters or more is mistyped with the chance `share`, once.

    kind: one of `TYPOS`. A text's slips hang on the seed, the kind and the text's place alone, and a larger share
    mistypes the same words and more.

    >>> mistyped(["a simple sentence"], "swap", 1.0)
    ['a sipmle setnence']
    """
    slip = TYPOS[kind]
    found = []
    for n, text in enumerate(texts):
        rng = random.Random(f"{seed} {kind} {n}")  # noqa: S311 - no secret

        def typed(match: re.Match[str], rng: random.Random = rng) -> str:
            word = match[0]
            due, i, own = rng.random() < share, rng.randrange(1, len(word) - 1), random.Random(rng.random())  # noqa: S311
            return slip(word, i, own) if due else word

        found.append(WORD.sub(typed, text))
    return found
