"""Text augmentation: the four operations of EDA by their formulas, lexicons from hostile files, back-translation."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from random import Random

import pytest

from sonde.core import SondeError
from sonde.data.problems import BadData
from sonde.data.text import (
    EDA,
    BackTranslation,
    Lexicon,
    delete_words,
    insert_synonyms,
    read_lexicon,
    read_wordnet,
    replace_synonyms,
    swap_words,
)

LEXICON = Lexicon({"good": ["fine", "very fine"], "film": ["movie"], "plot": ["story"], "the": ["that"]})
WORDS = [f"w{i}" for i in range(30)]
EVERY = Lexicon({word: [f"{word}-1", f"{word}-2"] for word in WORDS})


# ---------------------------------------------------------------- the four operations
@pytest.mark.parametrize("n", [0, 1, 3, 30, 99])
def test_as_many_words_are_replaced_as_asked_each_by_a_synonym_of_its_own(n: int) -> None:
    out = replace_synonyms(WORDS, n, EVERY, Random(0))
    changed = [(a, b) for a, b in zip(WORDS, out, strict=True) if a != b]
    assert len(changed) == min(n, 30) and all(b in EVERY.of(a) for a, b in changed)


def test_every_word_and_synonym_comes_as_often() -> None:
    draw = Random(0)
    outs = [replace_synonyms(WORDS[:3], 1, EVERY, draw) for _ in range(3000)]
    counts = Counter(next(b for a, b in zip(WORDS, out, strict=False) if a != b) for out in outs)
    assert len(counts) == 6 and min(counts.values()) > 420  # expected 500, standard deviation 20


def test_a_word_is_replaced_wherever_it_stands_in_its_case_and_punctuation() -> None:
    lexicon = Lexicon({"good": ["fine"], "film": ["moving picture"]})
    text = "Good, GOOD (good) film's Film... A goods"
    out = " ".join(replace_synonyms(text.split(), 9, lexicon, Random(0)))
    assert out == "Fine, FINE (fine) film's Moving picture... A goods"


def test_words_that_are_not_in_the_lexicon_are_never_touched() -> None:
    words = "the tree , the sea".split()
    assert replace_synonyms(words, 5, LEXICON, Random(0)) == words  # "the" is a stop word
    assert insert_synonyms(words, 5, LEXICON, Random(0)) == words


def test_as_many_synonyms_are_inserted_as_asked_anywhere() -> None:
    draw, first, last = Random(0), 0, 0
    for _ in range(300):
        out = insert_synonyms(["plot", "x"], 1, LEXICON, draw)
        assert Counter(out) == Counter(["plot", "x", "story"])
        first, last = first + (out[0] == "story"), last + (out[-1] == "story")
    assert 60 < first < 140 and 60 < last < 140  # a third each: expected 100, standard deviation 8.2
    assert Counter(insert_synonyms(["film"], 3, LEXICON, Random(0))) == Counter(["film", *["movie"] * 3])


def test_each_swap_exchanges_two_words() -> None:
    draw = Random(0)
    for _ in range(200):
        out = swap_words(WORDS, 1, draw)
        assert sorted(out) == sorted(WORDS) and sum(a != b for a, b in zip(WORDS, out, strict=True)) == 2
    assert swap_words(["a"], 4, draw) == ["a"] and swap_words([], 4, draw) == []


def test_words_are_deleted_with_the_probability_asked_and_one_is_left() -> None:
    draw = Random(0)
    kept = sum(len(delete_words(WORDS, 0.2, draw)) for _ in range(2000))
    assert abs(kept / 60_000 - 0.8) < 0.007  # 60,000 coins: standard error 0.0016
    left = Counter(delete_words(["a", "b"], 1.0, draw)[0] for _ in range(400))
    assert min(left.values()) > 150
    assert delete_words([], 0.5, draw) == []


def test_what_is_left_keeps_its_order() -> None:
    out = delete_words(WORDS, 0.5, Random(0))
    assert out == [w for w in WORDS if w in set(out)] and 5 < len(out) < 25


# ---------------------------------------------------------------- EDA
@pytest.mark.parametrize(("alpha", "length"), [(0.1, 30), (0.1, 9), (0.05, 30), (0.3, 21), (1.0, 5)])
def test_n_is_alpha_times_the_length_rounded_down_one_at_least(alpha: float, length: int) -> None:
    n = max(1, int(alpha * length))
    words = WORDS[:length]
    only = {"synonym": 0.0, "insertion": 0.0, "swap": 0.0, "deletion": 0.0}
    (replaced,) = EDA(EVERY, **{**only, "synonym": alpha}, copies=1).variants(words, 0)
    assert sum(a != b for a, b in zip(words, replaced, strict=True)) == n
    (inserted,) = EDA(EVERY, **{**only, "insertion": alpha}, copies=1).variants(words, 0)
    assert len(inserted) == length + n
    made = EDA(EVERY, **{**only, "swap": alpha}, copies=200).variants(words, 0)
    assert max(sum(a != b for a, b in zip(words, m, strict=True)) for m in made) <= 2 * n


def test_the_operations_are_used_equally() -> None:
    eda = EDA(EVERY, 0.1, 0.1, 0.1, 0.9, copies=8)
    total: Counter[str] = Counter()
    for row in range(100):
        lengths = Counter(
            "long" if len(m) > 30 else "short" if len(m) < 20 else "same" for m in eda.variants(WORDS, row)
        )
        assert max(lengths["long"], lengths["short"]) <= 3 and lengths["same"] <= 6 and lengths.total() == 8
        total += lengths
    assert abs(total["long"] - 200) < 40 and abs(total["short"] - 200) < 40  # of 800


def test_a_set_of_sentences_keeps_them_and_says_where_copies_are_from() -> None:
    out = EDA(LEXICON, copies=4)(["a good film", "the plot", "tree"])
    assert out.rows == [0] * 5 + [1] * 5 + [2] * 5
    assert [out.texts[0], out.texts[5], out.texts[10]] == ["a good film", "the plot", "tree"]


def test_draws_are_a_function_of_seed_and_row_alone() -> None:
    eda, words = EDA(EVERY, seed=3), WORDS
    alone = eda.variants(words, 7)
    eda(["w1 w2 w3"] * 5)
    assert eda.variants(words, 7) == alone
    assert alone != eda.variants(words, 8) and alone != EDA(EVERY, seed=4).variants(words, 7)
    assert eda.variant(words, 7, 0) == eda.variant(words, 7, 0) != eda.variant(words, 7, 1)


def test_a_new_process_draws_the_same() -> None:
    code = (
        "from sonde.data.text import EDA; e = EDA(synonym=0, insertion=0, copies=3);"
        "import sys; sys.stdout.write('|'.join(e(['a b c d e f g h']).texts + [' '.join(e.variant('a b c'.split(), 5, 2))]))"  # noqa: E501
    )
    eda = EDA(synonym=0, insertion=0, copies=3)
    here = "|".join([*eda(["a b c d e f g h"]).texts, " ".join(eda.variant("a b c".split(), 5, 2))])
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)  # noqa: S603
    assert found.stdout == here


def test_settings_without_sense_are_refused() -> None:
    with pytest.raises(SondeError, match="no lexicon"):
        EDA()
    with pytest.raises(SondeError, match="all are 0"):
        EDA(LEXICON, 0, 0, 0, 0)
    with pytest.raises(SondeError, match=r"swap=1.5 is outside \[0, 1\]"):
        EDA(LEXICON, swap=1.5)
    with pytest.raises(SondeError, match="copies=0"):
        EDA(LEXICON, copies=0)


# ---------------------------------------------------------------- lexicons
def test_a_lexicon_folds_case_drops_the_word_itself_and_pools_doubles() -> None:
    lexicon = Lexicon({"Film": ["film", "Movie"], "film": ["Movie", "picture"], "lone": ["lone"], "the": ["that"]})
    assert lexicon.of("FILM") == ("Movie", "picture") and len(lexicon) == 1
    for wrong in ({"a": "bcd"}, {"a": [""]}, {" ": ["b"]}, {"a": [3]}):
        with pytest.raises(SondeError, match="the synonyms of"):
            Lexicon(wrong)  # type: ignore[arg-type]


def test_both_kinds_of_file_give_the_same_lexicon(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("\ufeff# mine\nfilm\tmovie\tmotion picture\n\nfilm\tshow\n", encoding="utf-8")
    (tmp_path / "a.json").write_text(json.dumps({"film": ["movie", "motion picture", "show"]}))
    for name in ("a.tsv", "a.json"):
        assert read_lexicon(tmp_path / name).of("film") == ("movie", "motion picture", "show")


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("a.tsv", b"film movie\nfilm\tmovie\nplot\t\n\tstory\n", "3 problems"),
        ("a.tsv", b"film\t\xff\n", "byte 5 is not UTF-8"),
        ("a.tsv", b"", "is empty"),
        ("a.json", b"{", "is not JSON"),
        ("a.json", b"[" * 100_000, "is not JSON"),
        ("a.json", b'["film"]', "not an object of lists"),
        ("a.json", b'{"film": "movie"}', "not an object of lists"),
        ("a.json", b'{"film": [1]}', "the synonyms of 'film'"),
    ],
)
def test_files_that_are_no_lexicon_say_why(tmp_path: Path, name: str, content: bytes, says: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(SondeError, match=says):
        read_lexicon(tmp_path / name)


def test_bad_lines_are_all_named(tmp_path: Path) -> None:
    (tmp_path / "a.tsv").write_text("x\nfilm\tmovie\ny\n")
    with pytest.raises(BadData) as error:
        read_lexicon(tmp_path / "a.tsv")
    assert [p.where for p in error.value.found] == ["line 1", "line 3"]


# ---------------------------------------------------------------- WordNet's format
SYNSETS = {
    "noun": [
        ["film", "movie", "motion_picture"],
        ["film", "celluloid"],
        ["play", "drama"],
        ["dog"],
    ],
    "verb": [["play", "act"], ["film", "shoot"]],
    "adj": [["galore(ip)", "plenty(p)"]],
}
LICENCE = "  1 This is where a licence stands.  \n  2 It has two lines.  \n"


def wordnet(folder: Path) -> Path:
    """Small files of the format, written from what wndb(5WN) says of it."""
    for part, synsets in SYNSETS.items():
        data, where = LICENCE, {}
        for words in synsets:
            offset = len(data)
            listed = " ".join(f"{word} 0" for word in words)
            pointers = "002 @ 00000001 n 0000 ~ 00000002 n 0000" if len(words) == 2 else "000"
            data += f'{offset:08d} 06 {part[0]} {len(words):02x} {listed} {pointers} | a gloss; "an | example"  \n'
            for word in words:
                where.setdefault(word.partition("(")[0].lower(), []).append(offset)
        lines = [
            f"{word} {part[0]} {len(at)} 2 @ ~ {len(at)} 0 {' '.join(f'{o:08d}' for o in at)}  \n"
            for word, at in sorted(where.items())
        ]
        (folder / f"data.{part}").write_text(data)
        (folder / f"index.{part}").write_text(LICENCE + "".join(lines))
    return folder


def test_the_words_of_the_first_synset_are_synonyms(tmp_path: Path) -> None:
    lexicon = read_wordnet(wordnet(tmp_path), parts=("noun",))
    assert lexicon.of("Film") == ("movie", "motion picture")
    assert lexicon.of("motion picture") == ("film", "movie") and lexicon.of("dog") == ()


def test_more_senses_and_parts_of_speech_are_pooled(tmp_path: Path) -> None:
    wordnet(tmp_path)
    assert read_wordnet(tmp_path, ("noun",), senses=9).of("film") == ("movie", "motion picture", "celluloid")
    assert read_wordnet(tmp_path, ("noun", "verb")).of("play") == ("drama", "act")
    assert read_wordnet(tmp_path, ("verb", "adj")).of("play") == ("act",)


def test_the_marker_of_an_adjective_is_no_part_of_it(tmp_path: Path) -> None:
    assert read_wordnet(wordnet(tmp_path), ("adj",)).of("galore") == ("plenty",)


def test_a_synset_of_more_than_nine_words_is_counted_in_hexadecimal(tmp_path: Path) -> None:
    words = [f"word{chr(97 + i)}" for i in range(17)]
    (tmp_path / "data.noun").write_text("00000000 06 n 11 " + " ".join(f"{w} 0" for w in words) + " 000 | a gloss\n")
    (tmp_path / "index.noun").write_text("worda n 1 0 1 0 00000000\n")
    assert read_wordnet(tmp_path, ("noun",)).of("worda") == tuple(words[1:])


@pytest.mark.parametrize(
    ("file", "content", "says"),
    [
        ("index.verb", "play v\n", "index.verb line 1 is not a line of a WordNet index"),
        ("index.verb", "play v 2 0 1 0 00000061\n", "announces 2 synsets and lists 1"),
        ("index.verb", "play v 1 -1 1 0 00000061\n", "."),
        ("index.verb", "play v 1 0 1 0 00000063\n", "points to byte 63 of data.verb, where no synset begins"),
        ("index.verb", "play v 1 0 1 0 99999999\n", "points to byte 99999999 of data.verb"),
        ("data.verb", "", "is empty"),
    ],
)
def test_damaged_files_are_named_by_line(tmp_path: Path, file: str, content: str, says: str) -> None:
    wordnet(tmp_path)
    (tmp_path / file).write_text(content)
    with pytest.raises(SondeError, match=says):
        read_wordnet(tmp_path, ("verb",))


def test_a_synset_that_ends_too_early_is_named(tmp_path: Path) -> None:
    (tmp_path / "index.noun").write_text("dog n 1 0 1 0 00000000\n")
    for line in ("00000000 06 n 03 dog 0 000 | a gloss\n", "00000000 06 n zz dog 0\n", "00000000\n"):
        (tmp_path / "data.noun").write_text(line.replace("| a gloss", "|"))
        with pytest.raises(SondeError, match="data.noun byte 0 is not a line of WordNet data"):
            read_wordnet(tmp_path, ("noun",))


def test_a_missing_file_and_an_unknown_part_are_named(tmp_path: Path) -> None:
    with pytest.raises(SondeError, match=r"index.noun does not exist|data.noun does not exist"):
        read_wordnet(tmp_path)
    with pytest.raises(SondeError, match="no parts 'pronoun'"):
        read_wordnet(tmp_path, ("pronoun",))
    with pytest.raises(SondeError, match="senses=0"):
        read_wordnet(tmp_path, senses=0)


# ---------------------------------------------------------------- back-translation
class Recorder:
    """A translator that turns words around and notes what it was given."""

    def __init__(self, mark: str = "") -> None:
        self.given: list[list[str]] = []
        self.mark = mark

    def __call__(self, texts: list[str]) -> list[str]:
        self.given.append(texts)
        return [" ".join(reversed(text.split())) + self.mark for text in texts]


def test_sentences_go_there_and_back_in_batches_once_each() -> None:
    there, back = Recorder("!"), Recorder()
    translation = BackTranslation(there, back, batch_size=2)
    texts = ["a b", "c d", "a b", "e f"]
    assert translation(texts) == ["a! b", "c! d", "a! b", "e! f"]
    assert there.given == [["a b", "c d"], ["e f"]] and back.given == [["b a!", "d c!"], ["f e!"]]
    assert translation(["e f", "g h"]) == ["e! f", "g! h"] and there.given[2:] == [["g h"]]
    assert translation(["a b"], number=1) == ["a! b"] and len(there.given) == 3  # not sampled: one paraphrase


def test_sampled_paraphrases_are_kept_by_their_number() -> None:
    draw = Random(0)
    noisy = lambda texts: [f"{t} {draw.random()}" for t in texts]  # noqa: E731
    translation = BackTranslation(noisy, noisy, sampled=True)
    first, second = translation(["a", "b"], 0), translation(["a", "b"], 1)
    assert first != second and translation(["b", "a"], 0) == first[::-1] and translation(["a", "b"], 1) == second


def failing(texts: list[str]) -> list[str]:
    if any("bad" in text for text in texts):
        raise RuntimeError("out of\nmemory")
    return texts


@pytest.mark.parametrize(
    ("there", "back", "says"),
    [
        (failing, Recorder(), r"`there` failed on row 3: RuntimeError: 'out of\\nmemory'"),
        (Recorder(), failing, "`back` failed on row 3"),
        (lambda texts: texts[:-1], Recorder(), "returned 3 sentences for the 4 from row 0 on"),
        (lambda texts: "bad", Recorder(), "returned a str for the 4 from row 0 on"),
        (Recorder(), lambda texts: [t if "bad" not in t else "" for t in texts], "`back` returned '' for row 3"),
        (lambda texts: [1] * len(texts), Recorder(), "`there` returned '1' for row 0"),
    ],
)
def test_a_translator_that_fails_is_named_with_the_row(there: object, back: object, says: str) -> None:
    with pytest.raises(SondeError, match=says) as error:
        BackTranslation(there, back)(["a", "b", "a", "bad", "c"])  # type: ignore[arg-type]
    assert "\n" not in error.value.cause


def test_a_translator_that_fails_on_many_alone_is_told_so() -> None:
    crowded = lambda texts: texts if len(texts) == 1 else 1 / 0  # noqa: E731
    with pytest.raises(SondeError, match="rows 0 to 1 together, but on none alone: ZeroDivisionError"):
        BackTranslation(crowded, crowded)(["a", "b"])  # type: ignore[arg-type, return-value]
    with pytest.raises(SondeError, match="batch_size=0"):
        BackTranslation(crowded, crowded, batch_size=0)  # type: ignore[arg-type]
