"""Few sentences, and changed copies of them: what EDA adds to 500 film reviews.

Wei and Zou, EDA: easy data augmentation techniques for boosting performance on text classification tasks, 2019: with
500 training sentences, accuracy rises by 3.0 points, the mean over five tasks (SST-2 among them) and two nets, whose
word vectors were trained elsewhere. Here: SST-2 as whole sentences (Socher et al., 2013; split as in Kim, 2014), 500
training sentences drawn by each seed, Kim's convolutional net, smaller and with random word vectors, equal steps for
every arm, the last weights, no choice by test rows.

The synonyms are `SYNONYMS` below: a list written by hand for this experiment from the commonest words of the training
sentences (their labels unseen, before anything was trained). WordNet, which the authors used, is not needed to run it.
Back-translation is not measured: it needs two translators.

Measured, 10 seeds, 1821 test sentences, 45 s of one core of a Xeon: the gain does not appear. Without copies 64.9 %
right (95 % interval over seeds 63.3 to 66.6); with all four operations 0.9 points less (2.7 less to 0.9 more, paired),
with synonym replacement 1.2 less (3.6 less to 1.1 more), with swap and deletion 1.2 less (2.8 less to 0.4 more). So a
gain of 3.0 points is ruled out for this net, and the experiment's checks do not hold.

Why, in part: it is not the dropout, without which three seeds looked the same on training sentences held out; and it is
not that word vectors are learned from few sentences: with fixed vectors of 100 numbers, counted from text without
labels (all training sentences, and WikiText-2's validation and test text), and a net like the authors', 70 % were
right, and EDA's copies cost 0.8 points (0.4 to 1.1, 6 seeds, 2000 training sentences held out). What remains untried:
WordNet's synonyms, vectors from far more text, the other four tasks, and passes in place of steps, which with copies
are longer. The rate, the size of the windows and that of the first vectors were chosen on training sentences held out
from the seeds 100 and 101.

Entry: text augmentation; synonym replacement; back-translation.
"""

# N sentences, L words a sentence, V words, D width of a word vector, C channels

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from random import Random
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sonde.core import Budget, Run, fit
from sonde.data.fetch import Pinned, get
from sonde.data.rows import Rows
from sonde.data.text import (
    EDA,
    Augmented,
    Lexicon,
    delete_words,
    insert_synonyms,
    replace_synonyms,
    swap_words,
)
from sonde.experiment import Check, Figure, Finding, Lab, Table, experiment
from sonde.methods import adam
from sonde.objectives import Classify

from ._seeds import end_of, over_seeds

if TYPE_CHECKING:
    from matplotlib.figure import Figure as Drawing

WEI_ZOU = "Wei and Zou (2019)"
PUBLISHED = "Wei and Zou (2019), at 500 sentences, the mean over five tasks and two nets"
LENGTH = 40  # words; 2 in 100 training sentences have more, and are cut off
FILES = {
    "train": Pinned("train.tsv", "ec192f833a64da08f475488a77b0d0b47db47acd0f458bd18433fc793b569920", 720259),
    "test": Pinned("test.tsv", "831169c7e2e429d6026e1bdbb542f33b636e3e596caad9602ebc953c205928b7", 188749),
}

# Groups of words, each of which can stand for another of its group in most sentences about films.
SYNONYMS = """
film movie picture; films movies pictures; story tale narrative; stories tales; plot storyline; script screenplay
funny amusing humorous; hilarious uproarious; dull boring tedious; entertaining enjoyable diverting; good fine decent
great excellent superb; bad poor lousy; terrible awful dreadful; best finest; better superior; interesting intriguing
actors performers; actor performer; cast ensemble; director filmmaker; directors filmmakers; audience viewers public
people folks; man guy; kids children; kid child; young youthful; old aged; big large; small little tiny; smart clever
stupid dumb idiotic; silly foolish; sad sorrowful; happy glad; beautiful lovely gorgeous; ugly unsightly; sweet tender
charming delightful; moving touching affecting; compelling gripping engrossing; fascinating captivating absorbing
powerful forceful; fresh novel; original inventive; predictable foreseeable; familiar well-known; real genuine
serious earnest; dark gloomy; strange odd weird; quirky eccentric; thin flimsy; flat lifeless; slow sluggish
fast quick rapid; hard difficult; easy simple; whole entire; almost nearly; quite rather fairly; really truly actually
simply merely; often frequently; always forever; maybe perhaps; probably likely; surely certainly; completely entirely
totally wholly; especially particularly; surprisingly unexpectedly; ultimately finally eventually; makes renders
make create; made created; gives provides offers; give provide offer; shows displays; show display; seems appears
seem appear; feels senses; looks appears; fails flops; lacks misses; lack shortage; tries attempts; try attempt
trying attempting; work effort; worth value; fun enjoyment; humor wit comedy; jokes gags; laugh chuckle; laughs chuckles
love affection; fear dread; fight battle; war conflict; death demise; life existence; world universe; house home
moment instant; moments instants; minutes moments; ending conclusion; end close; beginning start; problem trouble
mess muddle; idea notion concept; ideas notions concepts; thing object; things stuff; kind sort type; way manner
bit touch; lot heap; part portion; sense feeling; heart soul; mind brain; energy vigor; style manner; charm appeal
talent gift; performance portrayal; performances portrayals; drama play; thriller chiller; flick movie; mystery puzzle
journey trip; adventure quest; job task; attempt effort; chance opportunity; trouble difficulty; remarkable striking
memorable unforgettable; brilliant dazzling; wonderful marvelous splendid; perfect flawless; solid sound; strong robust
weak feeble; rich lush; deep profound; shallow superficial; honest sincere; warm cordial; cold chilly; loud noisy
quiet calm; scary frightening; violent brutal; tired weary; fake phony; rare uncommon; usual customary; new recent
"""


# ---------------------------------------------------------------- sentences as numbers
@dataclass(frozen=True)
class Sentences:
    """Sentences of words divided by spaces, and the class of each."""

    texts: list[str]
    y: Tensor


def read_sst2(split: str) -> Sentences:
    """The full-sentence split of SST-2, from $SONDE_DATA or the cache: 6920 sentences to train on, 1821 to test."""
    lines = get("sst2", FILES[split]).decode("utf-8").splitlines()
    cells = [line.rsplit("\t", 1) for line in lines]
    return Sentences([text for text, _ in cells], torch.tensor([int(label) for _, label in cells]))


def lexicon() -> Lexicon:
    """The synonyms of `SYNONYMS`."""
    found: dict[str, list[str]] = {}
    for group in SYNONYMS.replace("\n", ";").split(";"):
        for word in group.split():
            found.setdefault(word, []).extend(group.split())
    return Lexicon(found)


def numbered(texts: Sequence[str], vocabulary: dict[str, int]) -> Tensor:
    """The first `LENGTH` words of each sentence by number: (N, L) int64; 0 stands for none, 1 for a word not known."""
    x = torch.zeros(len(texts), LENGTH, dtype=torch.int64)
    for row, text in zip(x, texts, strict=True):
        words = [vocabulary.get(word, 1) for word in text.split()[:LENGTH]]
        row[: len(words)] = torch.tensor(words)
    return x


class SentenceNet(nn.Module):
    """Windows of three words, the strongest response of each filter to one of them, a linear layer.

    Kim, Convolutional neural networks for sentence classification, 2014, section 2, with windows of one size; dropout
    as there. The word vectors begin at random and small: so they are soon what was learned.
    Reads x: (N, L) int64. Returns logits (N, 2).
    """

    def __init__(self, words: int, width: int = 50, channels: int = 32) -> None:
        super().__init__()
        self.vectors = nn.Embedding(words, width, padding_idx=0)
        with torch.no_grad():
            self.vectors.weight.mul_(0.1)
        self.windows = nn.Conv1d(width, channels, 3)
        self.dropout = nn.Dropout(0.5)
        self.output = nn.Linear(channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The logits (N, 2)."""
        responses = F.relu(self.windows(self.vectors(x).transpose(1, 2)))  # (N, D, L) -> (N, C, L - 2)
        z: Tensor = self.output(self.dropout(responses.amax(2)))
        return z


# ---------------------------------------------------------------- the arms
def arms(copies: int, seed: int) -> dict[str, EDA | None]:
    """What is done to the sentences, by name: EDA as its authors recommend it for 500 sentences, and parts of it."""
    return {
        "nothing": None,
        "all four": EDA(lexicon(), 0.05, 0.05, 0.05, 0.05, copies, seed),
        "synonym replacement": EDA(lexicon(), 0.05, 0.0, 0.0, 0.0, copies, seed),
        "swap and deletion": EDA(Lexicon({}), 0.0, 0.0, 0.05, 0.05, copies, seed),
    }


def few(whole: Sentences, rows: int, seed: int) -> Sentences:
    """So many sentences, drawn by the seed."""
    index = torch.randperm(len(whole.texts), generator=torch.Generator().manual_seed(seed))[:rows]
    return Sentences([whole.texts[i] for i in index.tolist()], whole.y[index])


def accuracy(train: Sentences, test: Sentences, eda: EDA | None, steps: int, seed: int) -> float:
    """The share of test sentences that a net is right about, trained on the sentences and their changed copies."""
    made = Augmented(train.texts, list(range(len(train.texts)))) if eda is None else eda(train.texts)
    words = dict.fromkeys(word for text in made.texts for word in text.split())
    vocabulary = {word: number for number, word in enumerate(words, 2)}
    torch.manual_seed(seed)
    run = Run(Classify(SentenceNet(len(vocabulary) + 2)), [adam(lr=3e-3)])
    x, y = numbered(made.texts, vocabulary), train.y[torch.tensor(made.rows)]
    fit(run, Rows(x, y, batch_size=50, seed=seed), Budget(steps=steps))
    with run.evaluating() as objective:
        p = objective.predict(numbered(test.texts, vocabulary))  # type: ignore[operator]
    return float((p.argmax(1) == test.y).float().mean())


def compared(
    train: Sentences, test: Sentences, rows: int, seeds: int, copies: int, steps: int, say: Callable[[str], None]
) -> dict[str, list[float]]:
    """The accuracy of every arm with every seed, which draws the sentences, the net and the order alike for all."""
    found: dict[str, list[float]] = {}
    for seed in range(seeds):
        drawn = few(train, rows, seed)
        for name, eda in arms(copies, seed).items():
            found.setdefault(name, []).append(accuracy(drawn, test, eda, steps, seed))
        say(f"seed {seed}: " + ", ".join(f"{name} {values[-1]:.3f}" for name, values in found.items()))
    return found


# ---------------------------------------------------------------- the experiment
@experiment(
    chapter="Learning",
    claim="With 500 sentences to learn from, copies changed by EDA make a net right more often.",
    source="Wei and Zou, EDA: easy data augmentation techniques for boosting performance on text classification, 2019",
    seconds=50,
    data=("sst2",),
)
def text_augmentation(lab: Lab) -> Iterator[Finding]:
    """EDA, and its parts, on 500 sentences of SST-2, over ten seeds."""
    rows, seeds, copies, steps = 500, 10, 16, 300
    found = compared(read_sst2("train"), read_sst2("test"), rows, seeds, copies, steps, lab.say)
    settings = {"rows": rows, "copies": copies, "alpha": 0.05, "steps": steps, "synonyms": f"{len(lexicon())} words"}
    for name, values in found.items():
        yield over_seeds(f"text/accuracy/{name}", values, "1", "higher", WEI_ZOU, settings=settings)
    gains = {
        name: over_seeds(
            f"text/gain/{name}",
            [after - before for after, before in zip(values, found["nothing"], strict=True)],
            "1", "higher", WEI_ZOU, settings=settings,
        )
        for name, values in found.items()
        if name != "nothing"
    }  # fmt: skip
    yield Check(measure=gains["all four"], at_least=0.0, published=0.03, published_in=PUBLISHED)
    yield Check(measure=end_of(gains["all four"], "lower"), at_least=0.0)
    yield gains["synonym replacement"]
    yield gains["swap and deletion"]
    yield Figure.of("gains", f"What changed copies add to {rows} sentences, over {seeds} seeds.", drawn(found))
    yield Table("sentence", "One sentence and what the operations make of it.", ("operation", "sentence"), examples())


def examples() -> tuple[tuple[str, str], ...]:
    """A sentence and one changed copy of each kind."""
    text = "a smart , funny film that makes its dull director look good"
    words, draw, known = text.split(), Random(2), lexicon()
    return (
        ("none", text),
        ("synonym replacement", " ".join(replace_synonyms(words, 2, known, draw))),
        ("random insertion", " ".join(insert_synonyms(words, 1, known, draw))),
        ("random swap", " ".join(swap_words(words, 1, draw))),
        ("random deletion", " ".join(delete_words(words, 0.2, draw))),
    )


def drawn(found: dict[str, list[float]]) -> Drawing:
    """Each seed's gain in points, by arm, with mean and interval."""
    from sonde.drawing import COLOURS, INK, MUTED, SMALL, canvas

    drawing, axes = canvas(7, 2.9)
    names = [name for name in found if name != "nothing"]
    for place, name in enumerate(names):
        gains = [100 * (a - b) for a, b in zip(found[name], found["nothing"], strict=True)]
        whole = over_seeds(name, gains, "points", "higher", "")
        level = len(names) - 1 - place
        axes.plot(gains, [level] * len(gains), "o", color=COLOURS[place], alpha=0.35, markersize=6, mew=0)
        if whole.interval is not None:
            axes.plot(whole.interval, [level, level], color=COLOURS[place], linewidth=2.5)
        axes.plot(whole.value, level, "D", color=COLOURS[place], markersize=7)
    axes.axvline(0, color=INK, linewidth=1)
    axes.axvline(3, color=MUTED, linewidth=1, linestyle=(0, (4, 3)))
    axes.annotate(
        "published: +3.0",
        (3, len(names) - 0.5),
        xytext=(-5, 0),
        textcoords="offset points",
        color=MUTED,
        fontsize=SMALL,
        ha="right",
    )
    axes.set_yticks(range(len(names)), list(reversed(names)))
    axes.set_ylim(-0.5, len(names) - 0.3)
    axes.set_xlabel("points of accuracy gained (dots: seeds; bar: 95 % interval)")
    return drawing
