"""Census income (Adult) by the default recipe for tables.

Source: Kohavi, Scaling up the accuracy of naive-Bayes classifiers, 1996, and the notes beside the data: on the official
split, rows with unknown values left out, C4.5 84.46 %, naive-Bayes tree 85.90 %. Here those rows are kept.
Measured: 87.29 % right (95 % interval 86.77 to 87.79) after 31 s of training, seed 0, two cores of a Xeon;
gradient-boosted trees on the same rows 87.25 %.

Entry: decision trees.
"""

from __future__ import annotations

from collections.abc import Iterator

from sonde.core import Build, Recipe
from sonde.data import load
from sonde.experiment import Check, Finding, Lab, experiment
from sonde.recipes.claims import Bar, against_trees, learned
from sonde.recipes.defaults import for_data


def adult() -> Recipe:
    """Adult: at least 87.0 % of the official test rows right, and within 0.4 points of gradient-boosted trees."""
    return for_data(load("adult"), build=Build(load, name="adult"))


@experiment(
    name="adult",
    chapter="Defining deep learning",
    claim="On a table of census data a net is within 0.4 points of gradient-boosted trees.",
    source="Kohavi, Scaling up the accuracy of naive-Bayes classifiers, 1996",
    seconds=75,
    data=("adult",),
)
def adult_claim(lab: Lab) -> Iterator[Finding]:
    """At least 87.0 % of the official test rows right, and at most 0.4 points fewer than the trees."""
    published = "notes beside the data: naive-Bayes tree, rows with unknown values left out"
    trained = yield from learned(
        lab, adult(), Bar("quality/accuracy", at_least=0.87, published=0.859, published_in=published)
    )
    yield Check(measure=against_trees(trained, load("adult")), at_least=-0.4)
