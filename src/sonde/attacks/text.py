"""Sentences with a few words swapped for synonyms until the decision is another.

Ren, Deng, He and Che, Generating natural language adversarial examples through probability weighted word saliency,
2019 (PWWS), eqs. 4 to 8: which words matter, how much the best synonym of each lowers the probability of the decision,
and the order by the product of both. Here a word's saliency is measured by leaving it out, as in Jin, Jin, Zhou and
Szolovits, Is BERT really robust?, 2020 (TextFooler, eq. 2), because not every model has a word for the unknown.

Entry: adversarial examples.
"""

# N sentences, C classes, W words, V variants

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

Words = tuple[str, ...]
Predict = Callable[[list[Words]], Tensor]
"""Sentences, each a tuple of words -> probabilities (N, C)."""
Synonyms = Callable[[str], Sequence[str]]
"""A word -> what it may be swapped for; () for none."""


@dataclass(frozen=True)
class Swapped:
    """A sentence after the attack. words: as it reads now. swaps: place in the original, word and synonym.

    flipped: whether the decision is another. before, after: the classes. asked: sentences put to the model.
    """

    words: Words
    swaps: tuple[tuple[int, str, str], ...]
    flipped: bool
    before: int
    after: int
    asked: int


def swap_synonyms(predict: Predict, words: Sequence[str], synonyms: Synonyms, most: int = 10) -> Swapped:
    """Swap up to `most` words, the most telling first, each for its best synonym, until the decision is another.

    A synonym of several words takes the place of one. Words without synonyms stay, so a sentence of such words cannot
    be attacked.

    >>> def mood(sentences):  # knows one word
    ...     return torch.tensor([[0.1, 0.9] if "good" in words else [0.9, 0.1] for words in sentences])
    >>> swap_synonyms(mood, ["a", "good", "film"], lambda word: {"good": ["fine"]}.get(word, [])).swaps
    ((1, 'good', 'fine'),)
    """
    slots: list[Words] = [(word,) for word in words]
    asked = 0

    def ask(variants: list[list[Words]]) -> Tensor:
        nonlocal asked
        asked += len(variants)
        return predict([tuple(w for slot in v for w in slot) for v in variants]).detach().double()

    start = ask([slots])[0]
    before = int(start.argmax())
    if not bool(start.isfinite().all()):
        return Swapped(tuple(words), (), False, before, before, asked)
    choices = {i: [tuple(s.split()) for s in synonyms(word) if s.split()] for i, word in enumerate(words)}
    known = [i for i, found in choices.items() if found]
    if not known or most < 1:
        return Swapped(tuple(words), (), False, before, before, asked)
    without = ask([_with(slots, i, ()) for i in known])[:, before]
    saliency = (start[before] - without).softmax(0)  # eqs. 5 and 7, phi(S), over the words that can be swapped
    variants = [(i, s) for i in known for s in choices[i]]
    left = ask([_with(slots, i, s) for i, s in variants])[:, before].nan_to_num(torch.inf)  # (V,)
    best: dict[int, tuple[float, Words]] = {}
    for (i, s), p in zip(variants, left.tolist(), strict=True):
        if i not in best or p < best[i][0]:
            best[i] = p, s
    gain = {i: float(saliency[k]) * (float(start[before]) - best[i][0]) for k, i in enumerate(known)}  # eq. 8
    order = [i for i in sorted(known, key=lambda i: (-gain[i], i)) if gain[i] > 0][:most]
    swaps: list[tuple[int, str, str]] = []
    after = before
    for i in order:
        slots = _with(slots, i, best[i][1])
        swaps.append((i, words[i], " ".join(best[i][1])))
        now = ask([slots])[0]
        if bool(now.isfinite().all()) and (after := int(now.argmax())) != before:
            break
    return Swapped(tuple(w for slot in slots for w in slot), tuple(swaps), after != before, before, after, asked)


def _with(slots: list[Words], place: int, words: Words) -> list[Words]:
    return [*slots[:place], words, *slots[place + 1 :]]
