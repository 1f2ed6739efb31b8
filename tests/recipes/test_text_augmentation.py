"""EDA on few sentences: the words' numbers, the lexicon, the arms' common draws, and the experiment at small size."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from sonde.data.text import EDA
from sonde.experiment import Lab
from sonde.recipes import text_augmentation as module
from sonde.recipes.text_augmentation import (
    LENGTH,
    SentenceNet,
    Sentences,
    accuracy,
    arms,
    compared,
    drawn,
    examples,
    few,
    lexicon,
    numbered,
    read_sst2,
)


def reviews(rows: int = 60, seed: int = 0) -> Sentences:
    """Sentences whose class is told by one word of them."""
    g = torch.Generator().manual_seed(seed)
    y = torch.randint(2, (rows,), generator=g)
    filler = [" ".join(f"w{int(i)}" for i in torch.randint(20, (6,), generator=g)) for _ in range(rows)]
    return Sentences([f"{text} {'good' if label else 'bad'} film" for text, label in zip(filler, y, strict=True)], y)


def test_words_get_numbers_and_strange_ones_the_same() -> None:
    x = numbered(["a b a", "c", " ".join(["b"] * 99)], {"a": 2, "b": 3})
    assert x.shape == (3, LENGTH) and x[0, :4].tolist() == [2, 3, 2, 0] and x[1, :2].tolist() == [1, 0]
    assert (x[2] == 3).all()


def test_words_of_a_group_stand_for_each_other_and_for_no_other() -> None:
    known = lexicon()
    assert known.of("film") == ("movie", "picture") and known.of("dull") == ("boring", "tedious")
    assert "good" not in known.of("bad") and "bad" not in known.of("good")
    assert not {"film", "movie"} & set(known.of("story"))


def test_a_net_learns_the_word_that_tells() -> None:
    train, test = reviews(), reviews(seed=1)
    assert accuracy(train, test, None, steps=60, seed=0) > 0.9
    assert accuracy(train, test, EDA(lexicon(), copies=4), steps=60, seed=0) > 0.9


def test_empty_places_do_not_tell_the_net_anything_of_words() -> None:
    net = SentenceNet(5).eval()
    x = torch.tensor([[2, 3, 4, 0, 0, 0, 0]])
    assert torch.allclose(net(x), net(torch.cat([x, torch.zeros(1, 9, dtype=torch.int64)], 1)), atol=1e-6)


def test_every_arm_has_the_same_sentences_and_its_own_copies() -> None:
    drawn_once, again = few(reviews(), 10, seed=3), few(reviews(), 10, seed=3)
    assert drawn_once.texts == again.texts and drawn_once.texts != few(reviews(), 10, seed=4).texts
    made = {name: eda(drawn_once.texts) for name, eda in arms(4, seed=3).items() if eda is not None}
    assert set(made) == {"all four", "synonym replacement", "swap and deletion"}
    for name, found in made.items():
        assert [t for t, r in zip(found.texts[::5], found.rows[::5], strict=True)] == drawn_once.texts
        assert any(t not in drawn_once.texts for t in found.texts), name
    swapped = made["swap and deletion"].texts
    assert {w for t in swapped for w in t.split()} == {w for t in drawn_once.texts for w in t.split()}


def test_arms_are_compared_seed_by_seed() -> None:
    said: list[str] = []
    found = compared(reviews(), reviews(seed=1), rows=20, seeds=2, copies=2, steps=5, say=said.append)
    assert list(found) == list(arms(1, 0)) and all(len(v) == 2 for v in found.values()) and len(said) == 2
    assert found == compared(reviews(), reviews(seed=1), 20, 2, 2, 5, said.append)
    assert "synonym replacement" in str(drawn(found).axes[0].get_yticklabels())


def test_the_sentence_shown_is_changed_by_each_operation() -> None:
    rows = examples()
    assert len({text for _, text in rows}) == 5


def test_a_gain_that_is_not_there_is_not_claimed(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    names = list(arms(1, 0))
    monkeypatch.setattr(module, "read_sst2", lambda split: reviews())
    for shift, holds in ((0.02, True), (-0.02, False)):
        found = {name: [0.6 + 0.01 * k + (shift if name == "all four" else 0) for k in range(4)] for name in names}
        monkeypatch.setattr(module, "compared", lambda *given, found=found: found)
        checks = [f for f in module.text_augmentation.run(Lab(tmp_path)) if hasattr(f, "holds")]
        assert len(checks) == 2 and all(c.holds == holds for c in checks)


@pytest.mark.mirror
def test_sst2_is_read_whole() -> None:
    train, test = read_sst2("train"), read_sst2("test")
    assert (len(train.texts), int(train.y.sum())) == (6920, 3610)
    assert (len(test.texts), int(test.y.sum())) == (1821, 909)
