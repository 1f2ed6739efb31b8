"""Typing errors touch inner letters of the words that they should, and the audit counts what they cost."""

from __future__ import annotations

import re

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor, nn

from sonde.audits.robustness.typos import Typos
from sonde.core import SondeError, Subject, run_audits
from sonde.core.audit import Audited
from sonde.corruptions.typos import ROWS, TYPOS, beside, mistyped
from tests.support import LAW

LENGTHS = {"swap": 0, "drop": -1, "double": 1, "keyboard": 0}


@LAW
@given(text=st.text(max_size=60), kind=st.sampled_from(list(TYPOS)), share=st.floats(0, 1), seed=st.integers(0, 99))
def test_ends_of_words_short_words_and_all_else_stay(text: str, kind: str, share: float, seed: int) -> None:
    (typed,) = mistyped([text], kind, share, seed)
    word = re.compile(r"[^\W\d_]{4,}")
    before, after = word.findall(text), word.findall(typed)
    if kind != "drop":  # which may leave three letters
        assert word.sub("#", text) == word.sub("#", typed) and len(before) == len(after)
        for a, b in zip(before, after, strict=True):
            assert len(b) in (len(a), len(a) + LENGTHS[kind]) and (a[0], a[-1]) == (b[0], b[-1])
    assert mistyped([text], kind, 0.0, seed) == [text]
    assert mistyped([text], kind, share, seed) == [typed]


def test_every_kind_does_what_it_says_and_more_of_it_at_a_larger_share() -> None:
    text = " ".join(["keyboards"] * 300)
    for kind, longer in LENGTHS.items():
        changed = []
        for share in (0.1, 0.5, 1.0):
            words = mistyped([text], kind, share)[0].split()
            changed.append({i for i, w in enumerate(words) if w != "keyboards"})
            assert all(len(words[i]) == 9 + longer for i in changed[-1])
            assert abs(len(changed[-1]) / 300 - share) < 0.09
        assert changed[0] <= changed[1] <= changed[2], "a larger share mistypes the same words and more"


def test_keys_are_beside_each_other_both_ways() -> None:
    letters = "".join(ROWS)
    for a in letters:
        assert a not in beside(a) and 2 <= len(beside(a)) <= 6
        assert all(a in beside(b) for b in beside(a)), a
    assert set(beside("g")) == set("tyfhvb")


class Spelled(nn.Module):
    """Knows the word "wonderful", and no misspelling of it."""

    def forward(self, texts: list[str]) -> Tensor:
        z = torch.tensor([10.0 * ("wonderful" in t.split()) - 5 for t in texts])
        return torch.stack([-z, z], 1)


def audited(subject: Subject, audit: Typos) -> Audited:
    (found,) = run_audits(subject, [audit])
    return found


def test_what_is_lost_is_counted_and_shown() -> None:
    texts = ["a wonderful film"] * 400 + ["a bad one"] * 400
    subject = Subject.of(Spelled(), texts, torch.tensor([1] * 400 + [0] * 400), classes=("bad", "good"))
    found = audited(subject, Typos(rows=800))
    assert found.outcome == "done", found.reason
    measures = {m.name.rpartition("/")[2]: m.value for m in found.measures}
    assert measures["clean_accuracy"] == 1.0
    table = {row[0]: row[1:] for row in found.tables[0].rows}
    for kind in TYPOS:  # half of the texts hang on one word
        for share, accuracy in zip((0.05, 0.1, 0.2, 0.4), table[kind], strict=False):
            assert abs(float(accuracy or 0) - 100 * (1 - share / 2)) < 6, (kind, share)
    assert measures["mean_accuracy"] == pytest.approx(1 - 0.1875 / 2, abs=0.02)
    assert found.tables[1].rows and all(row[1:] == ("good", "bad") for row in found.tables[1].rows)


def test_what_cannot_be_mistyped_is_refused() -> None:
    numbers = Subject.of(nn.Linear(2, 2), torch.rand(3, 2), torch.zeros(3).long())
    assert audited(numbers, Typos()).reason == "its rows are no texts"
    with pytest.raises(SondeError, match="asks about no row"):
        Typos(rows=0)
