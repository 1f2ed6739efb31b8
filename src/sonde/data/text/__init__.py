"""Text before it becomes numbers: random changes to sentences that keep what they say, and words with their synonyms.

Everything here takes and returns strings, and is a function of (seed, row): the same row changes in the same way
wherever it stands in a batch and however often the program is started.

Entry: text augmentation.
"""

from .back_translation import BackTranslation, Translator
from .eda import EDA, Augmented, delete_words, insert_synonyms, replace_synonyms, swap_words
from .lexicon import STOP_WORDS, Lexicon, read_lexicon
from .wordnet import read_wordnet

__all__ = [
    "EDA",
    "STOP_WORDS",
    "Augmented",
    "BackTranslation",
    "Lexicon",
    "Translator",
    "delete_words",
    "insert_synonyms",
    "read_lexicon",
    "read_wordnet",
    "replace_synonyms",
    "swap_words",
]
