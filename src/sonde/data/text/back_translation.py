"""Back-translation: say it in another language and back.

Sennrich, Haddow and Birch, Improving neural machine translation models with monolingual data, 2016, section 3.1, for
translation; Xie et al., Unsupervised data augmentation for consistency training, 2020, section 2.2, for classification.
The translators are the user's: any two functions of lists of strings.

Entry: text augmentation; back-translation.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from sonde.core.errors import SondeError
from sonde.data.problems import quoted

Translator = Callable[[list[str]], Sequence[str]]
"""Takes sentences, returns as many in another language, in the same order."""


class BackTranslation:
    """Paraphrases sentences through another language.

    there, back: translate a list of sentences into the other language, and from it.
    batch_size: how many sentences a translator is given at a time.
    sampled: whether the translators draw at random. If not, a sentence has one paraphrase, whatever `number` is. If
        so, each `number` has its own, and a translator that is not seeded makes others when the program is started
        again: keep `known`.

    What was translated is kept in `known`, (sentence, number) -> paraphrase, and asked for once.

    >>> words = {"good": "gut", "gut": "fine"}
    >>> translate = lambda texts: [" ".join(words.get(w, w) for w in t.split()) for t in texts]
    >>> BackTranslation(translate, translate)(["a good film", "a film"])
    ['a fine film', 'a film']
    """

    def __init__(self, there: Translator, back: Translator, batch_size: int = 32, sampled: bool = False) -> None:
        if batch_size < 1:
            raise SondeError(f"BackTranslation(batch_size={batch_size}) gives nothing", "choose 1 or more")
        self.there, self.back, self.batch_size, self.sampled = there, back, batch_size, sampled
        self.known: dict[tuple[str, int], str] = {}

    def __call__(self, texts: Sequence[str], number: int = 0) -> list[str]:
        """The paraphrase of each sentence. number: which of its paraphrases, where translators sample.

        Raises:
            SondeError: a translator failed, or did not return a sentence for each; the row is named.
        """
        number = number if self.sampled else 0
        rows: dict[str, int] = {}  # each new sentence once, with the first row it stands in
        for row, text in enumerate(texts):
            if (text, number) not in self.known:
                rows.setdefault(text, row)
        new = list(rows)
        for start in range(0, len(new), self.batch_size):
            part = new[start : start + self.batch_size]
            numbers = [rows[text] for text in part]
            foreign = _translated(self.there, part, numbers, "there")
            for text, paraphrase in zip(part, _translated(self.back, foreign, numbers, "back"), strict=True):
                self.known[text, number] = paraphrase
        return [self.known[text, number] for text in texts]


def _translated(translator: Translator, texts: list[str], rows: list[int], name: str) -> list[str]:
    """The translations, checked. rows: what to call each sentence in an error."""
    try:
        found: Any = translator(list(texts))
    except Exception as error:
        if len(texts) > 1:  # one by one, to name the row that it fails on
            for text, row in zip(texts, rows, strict=True):
                _translated(translator, [text], [row], name)
        where = f"row {rows[0]}" if len(rows) == 1 else f"rows {rows[0]} to {rows[-1]} together, but on none alone"
        raise SondeError(
            f"the translator `{name}` failed on {where}: {type(error).__name__}: {quoted(error)}",
            "mend the translator, or leave the row out",
        ) from error
    given = isinstance(found, Sequence) and not isinstance(found, str)
    if not given or len(found) != len(texts):
        what = f"{len(found)} sentences" if given else f"a {type(found).__name__}"
        raise SondeError(
            f"the translator `{name}` returned {what} for the {len(texts)} from row {rows[0]} on",
            "return a list with one translation for each sentence, in their order",
        )
    for text, row in zip(found, rows, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise SondeError(
                f"the translator `{name}` returned {quoted(text)} for row {row}", "return a sentence, or leave it out"
            )
    return list(found)
