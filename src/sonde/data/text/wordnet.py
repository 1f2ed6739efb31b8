"""Synonyms from files in WordNet's database format.

The format is that of the manual page wndb(5WN) of WordNet 3.0: `index.noun` lists each word's synsets by their byte
offset in `data.noun`, and a line of that holds the synset's words; likewise for verbs, adjectives and adverbs. The
files are the user's own; nothing is fetched.

Entry: synonym replacement.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from pathlib import Path

from sonde.core.errors import SondeError
from sonde.data.files import read_bytes
from sonde.data.problems import listed

from .lexicon import LIMIT, STOP_WORDS, Lexicon

PARTS = ("noun", "verb", "adj", "adv")
_MARKER = re.compile(r"\((?:a|p|ip)\)$")  # where an adjective may stand; no part of the word


def read_wordnet(
    folder: str | Path,
    parts: Sequence[str] = PARTS,
    senses: int = 1,
    stop_words: Collection[str] = STOP_WORDS,
) -> Lexicon:
    """The words of WordNet's `index` files, with the other words of their synsets.

    folder: holds index.noun, data.noun and so on (WordNet's `dict`). parts: which parts of speech are read.
    senses: how many synsets of a word count, for each part of speech; an index lists them as a rule from the most
        used sense to the least. Wei and Zou (2019) take all of them, as a large number does here.
    stop_words: words that get no synonyms.

    A sentence is not tagged: the synonyms of a word that is listed under several parts of speech are pooled. Inflected
    forms ("films") are not in WordNet, so they have none.

    Raises:
        SondeError: a file is missing, or a line is not of the format, by number.
    """
    if not parts or not set(parts) <= set(PARTS):
        raise SondeError(f"WordNet has no parts {listed(list(parts))}", f"choose from {listed(PARTS)}")
    if senses < 1:
        raise SondeError(f"senses={senses} leaves no synonyms", "choose 1 or more")
    found: dict[str, list[str]] = {}
    for part in parts:
        index, data = (Path(folder) / f"{name}.{part}" for name in ("index", "data"))
        synsets = _Synsets(data)
        for number, line in enumerate(_text(index).splitlines(), 1):
            if not line.startswith("  ") and line.strip():  # lines of the licence begin with two spaces
                word, offsets = _entry(line, f"{index.name} line {number}")
                for offset in offsets[:senses]:
                    found.setdefault(word, []).extend(synsets.at(offset, f"{index.name} line {number}"))
    return Lexicon(found, stop_words)


def _text(path: Path) -> str:
    return read_bytes(path, LIMIT).decode("latin-1")  # the format is ASCII; a byte is a character, so offsets hold


def _wrong(where: str, what: str) -> SondeError:
    return SondeError(f"{where} {what}", "give the index and data files of one WordNet release, unchanged")


def _entry(line: str, where: str) -> tuple[str, list[int]]:
    """A line of an index: lemma pos synset_cnt p_cnt [ptr_symbol...] sense_cnt tagsense_cnt synset_offset..."""
    fields = line.split()
    try:
        synsets, pointers = int(fields[2]), int(fields[3])
        offsets = [int(field) for field in fields[6 + pointers :]]
    except (IndexError, ValueError):
        raise _wrong(where, "is not a line of a WordNet index") from None
    if len(offsets) != synsets or synsets < 1 or pointers < 0 or min(offsets) < 0:
        raise _wrong(where, f"announces {synsets} synsets and lists {len(offsets)}")
    return fields[0].replace("_", " "), offsets


class _Synsets:
    """The words of the synsets of a data file, by byte offset."""

    def __init__(self, path: Path) -> None:
        self.name, self.text = path.name, _text(path)

    def at(self, offset: int, where: str) -> list[str]:
        """synset_offset lex_filenum ss_type w_cnt word lex_id [word lex_id...] p_cnt [ptr...] [frames...] | gloss"""
        starts = offset == 0 or self.text[offset - 1 : offset] == "\n"
        end = self.text.find("\n", offset)
        fields = self.text[offset : end if end >= 0 else len(self.text)].partition("|")[0].split()
        if not starts or not fields or not fields[0].isdigit() or int(fields[0]) != offset:
            raise _wrong(where, f"points to byte {offset} of {self.name}, where no synset begins")
        try:
            count = int(fields[3], 16)  # two hexadecimal digits
            words = fields[4 : 4 + 2 * count : 2]
        except (IndexError, ValueError):
            count, words = 0, []
        if not count or len(words) != count:
            raise _wrong(f"{self.name} byte {offset}", "is not a line of WordNet data")
        return [_MARKER.sub("", word).replace("_", " ") for word in words]
