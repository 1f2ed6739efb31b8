"""Words and their synonyms, from a mapping, a TSV or a JSON file.

Entry: synonym replacement.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from sonde.core.errors import SondeError
from sonde.data.files import read_bytes
from sonde.data.problems import Problem, bad_data, quoted

LIMIT = 1 << 28  # bytes of one file; WordNet's largest has 15 million

# English words that hold a sentence together and mean little by themselves: what else a dictionary lists under them
# ("a" is a unit of length, "be" a metal) is no synonym in a sentence.
STOP_WORDS = frozenset(
    " ".join(
        (
            "a an the this that these those some any no each every either neither both all such own same other another",
            "i me my mine myself we us our ours ourselves you your yours yourself yourselves he him his himself she",
            "her hers herself it its itself they them their theirs themselves who whom whose which what",
            "am is are was were be been being have has had having do does did doing done",
            "can could may might must shall should will would ought",
            "and or but nor so yet if then than because as while although though unless until since whether",
            "of at by for from in into on onto off out over under to up down with without within about above below",
            "across after against along among around before behind between beyond during through toward towards upon",
            "not very too just only also even again ever never here there where when why how now once more most",
            "n't 's 're 've 'll 'd 'm s t don",
        )
    ).split()
)


class Lexicon:
    """Synonyms by word, whatever the case.

    synonyms: word -> its synonyms; one of several words is written with spaces. A word is not its own synonym.
    stop_words: words that have no synonyms whatever the mapping says.

    A lexicon does not know which part of speech a word is in a sentence: where "play" is listed with "drama" and with
    "compete", either may come.

    >>> lexicon = Lexicon({"Film": ["movie", "motion picture"], "the": ["that"]})
    >>> lexicon.of("FILM"), lexicon.of("the"), lexicon.of("tree")
    (('movie', 'motion picture'), (), ())
    """

    def __init__(self, synonyms: Mapping[str, Sequence[str]], stop_words: Collection[str] = STOP_WORDS) -> None:
        self._synonyms: dict[str, tuple[str, ...]] = {}
        for word, others in synonyms.items():
            plain = " ".join(word.split()).lower()
            if not plain or isinstance(others, str) or not all(isinstance(o, str) and o.strip() for o in others):
                raise SondeError(
                    f"the synonyms of {quoted(word)} are {quoted(others)}", "give words and, for each, a list of words"
                )
            if plain not in stop_words:
                found = (*self._synonyms.get(plain, ()), *(" ".join(o.split()) for o in others))
                kept = tuple(dict.fromkeys(o for o in found if o.lower() != plain))
                if kept:
                    self._synonyms[plain] = kept

    def __len__(self) -> int:
        """How many words have synonyms."""
        return len(self._synonyms)

    def of(self, word: str) -> tuple[str, ...]:
        """The synonyms of a word, in their order; () if it has none."""
        return self._synonyms.get(word.lower(), ())


def read_lexicon(path: str | Path, stop_words: Collection[str] = STOP_WORDS) -> Lexicon:
    """A lexicon from a file in UTF-8.

    path: `.json`, an object of lists: {"film": ["movie", "motion picture"]}; else lines of cells divided by tabs, a
        word and then its synonyms. Lines that are blank or begin with # are passed over.

    Raises:
        SondeError: missing, too large, not UTF-8, not such an object; BadData: lines without a synonym, by number.
    """
    path = Path(path)
    try:
        text = read_bytes(path, LIMIT).decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SondeError(f"{path.name}: byte {error.start} is not UTF-8 text", "save it as UTF-8") from error
    if path.suffix.lower() == ".json":
        try:
            data = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise SondeError(f"{path.name} is not JSON: {quoted(error)}", "mend it, or write lines of words") from error
        if not isinstance(data, dict) or not all(isinstance(v, list) for v in data.values()):
            raise SondeError(f"{path.name} is not an object of lists", 'write {"word": ["synonym", ...], ...}')
        return Lexicon(data, stop_words)
    found: dict[str, list[str]] = {}
    problems: list[Problem] = []
    for number, line in enumerate(text.splitlines(), 1):
        cells = [cell.strip() for cell in line.split("\t")]
        if not any(cells) or line.startswith("#"):
            continue
        if len(cells) < 2 or not cells[0] or not any(cells[1:]):
            problems.append(Problem(f"line {number}", f"{quoted(line)} is not a word, a tab and its synonyms"))
        else:
            found.setdefault(cells[0], []).extend(cell for cell in cells[1:] if cell)
    if problems:
        raise bad_data(path.name, problems, "write a word, a tab and its synonyms, divided by tabs, on each line")
    return Lexicon(found, stop_words)
