"""Synonyms swapped: the words that matter first, as few as do it, and only for what the lexicon lists."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sonde.attacks.text import Words, swap_synonyms
from sonde.audits.robustness.text import SynonymSwaps
from sonde.core import Batch, SondeError, Subject, run_audits
from sonde.core.audit import Audited

WEIGHTS = {"good": 1.0, "great": 2.0, "fine": 0.3, "big": 0.0, "bad": -1.0, "poor": -0.4, "awful": -2.0, "so": 0.1}
SYNONYMS = {
    "good": ["fine", "great"],
    "great": ["big", "good"],
    "bad": ["poor"],
    "awful": ["bad", "poor"],
    "film": ["moving picture"],
}


def mood(sentences: list[Words]) -> Tensor:
    """A bag of words: logistic regression on the sum of their weights."""
    z = torch.tensor([sum(WEIGHTS.get(w.lower(), 0.0) for w in s) - 0.5 for s in sentences])
    return torch.stack([-z, z], 1).softmax(1)


def synonyms(word: str) -> list[str]:
    return SYNONYMS.get(word, [])


def test_the_least_swaps_are_made_and_the_telling_word_comes_first() -> None:
    found = swap_synonyms(mood, "a good so great film".split(), synonyms)
    assert found.flipped and (found.before, found.after) == (1, 0)
    assert [swap[1:] for swap in found.swaps] == [("great", "big"), ("good", "fine")]
    assert found.words == ("a", "fine", "so", "big", "film")


def test_what_it_finds_force_finds_too() -> None:
    g = torch.Generator().manual_seed(0)
    vocabulary, flipped = [*WEIGHTS, "film", "a"], 0
    for _ in range(60):
        words = [vocabulary[int(i)] for i in torch.randint(len(vocabulary), (5,), generator=g)]
        found = swap_synonyms(mood, words, synonyms)
        before = int(mood([tuple(words)]).argmax())
        ways = [[(w,), *((s,) for s in synonyms(w))] for w in words]
        every = [tuple(p for slot in v for part in slot for p in part.split()) for v in itertools.product(*ways)]
        possible = bool((mood(every).argmax(1) != before).any())
        assert found.flipped <= possible and found.before == before
        assert int(mood([found.words]).argmax()) == found.after
        for place, word, other in found.swaps:
            assert words[place] == word and other in synonyms(word)
        flipped += found.flipped
        assert found.flipped == possible  # of words that count by themselves the greedy order misses none
    assert flipped > 5


def test_no_synonym_no_swap_and_no_more_than_asked_for() -> None:
    assert swap_synonyms(mood, ["so", "a"], synonyms).swaps == ()
    assert swap_synonyms(mood, [], synonyms).words == ()
    one = swap_synonyms(mood, "great great great".split(), synonyms, most=1)
    assert len(one.swaps) == 1 and not one.flipped


def test_answers_that_are_no_numbers_are_not_flipped() -> None:
    assert not swap_synonyms(lambda s: torch.full((len(s), 2), torch.nan), ["good"], synonyms).flipped


def texts(tmp_path: Path) -> tuple[Subject, str]:
    file = tmp_path / "lexicon.tsv"
    file.write_text("\n".join("\t".join([w, *s]) for w, s in SYNONYMS.items()))
    x = ["A good film.", "A great, good film!", "An awful film", "so big", "Great great great great"]
    y = torch.tensor([1, 1, 0, 0, 1])
    subject = Subject(
        "moods", "classification", nn.Identity(), lambda x: mood([tuple(t.split()) for t in x]),
        {"test": Batch(x, y)}, classes=("bad", "good"),
    )  # fmt: skip
    return subject, str(file)


def audited(subject: Subject, audit: SynonymSwaps) -> Audited:
    (done,) = run_audits(subject, [audit])
    return done


def test_the_audit_counts_what_fell(tmp_path: Path) -> None:
    subject, file = texts(tmp_path)
    done = audited(subject, SynonymSwaps(lexicon=file))
    assert done.outcome == "done", done.reason
    measures = {m.name.rpartition("/")[2]: m for m in done.measures}
    assert measures["flipped_share"].value == pytest.approx(3 / 5)  # the first two and the last one
    assert measures["attacked_accuracy"].value == pytest.approx(2 / 5)
    assert measures["attacked_accuracy"].settings["clean"] == 1.0
    assert measures["swaps_per_flip"].value == pytest.approx((1 + 2 + 4) / 3)
    (table,) = done.tables
    assert table.rows[0] == ("good → fine", "A fine film .", "good", "bad")
    assert "Great → Big" in str(table.rows[2][0])


def test_what_is_no_text_is_refused(tmp_path: Path) -> None:
    subject, file = texts(tmp_path)
    other = Subject.of(nn.Linear(2, 2), torch.rand(3, 2), torch.zeros(3).long())
    assert audited(other, SynonymSwaps(lexicon=file)).reason == "its rows are no texts"
    assert "no synonyms" in audited(subject, SynonymSwaps()).reason
    assert "regression" in SynonymSwaps().refuses(replace(subject, task="regression"))
    with pytest.raises(SondeError, match="swaps nothing"):
        SynonymSwaps(most=0)


def test_of_a_long_text_the_beginning_is_swapped_and_all_of_it_read(tmp_path: Path) -> None:
    subject, file = texts(tmp_path)
    seen: list[int] = []

    def predict(x: list[str]) -> Tensor:
        seen.extend(len(t.split()) for t in x)
        return mood([tuple(t.split()) for t in x])

    long = ["good " * 2000]
    found = audited(replace(subject, predict=predict, splits={"test": Batch(long, torch.tensor([1]))}),
                    SynonymSwaps(lexicon=file, most=3))  # fmt: skip
    assert found.outcome == "done" and len(seen) < 1500 and min(seen) == 1999
