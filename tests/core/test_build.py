"""Builds: checked where they are written, plain in between, and resolved to the package's vocabulary alone."""

from __future__ import annotations

import sys
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from sonde.core import Build, Refused, SondeError
from sonde.core.build import VOCABULARY
from sonde.data.named import load
from sonde.data.rows import Split
from sonde.methods import EMA, Checkpoint, Clip, LabelSmoothing, MetricsLog, adamw
from sonde.objectives import Classify
from sonde.optim.schedules import Cosine
from tests.support import LAW


def scaled(base: Any, factor: float = 1.0, data: Any = None) -> tuple[Any, float, Any]:
    return base, factor, data


# ---------------------------------------------------------------- writing
def test_a_misspelt_parameter_is_refused_where_it_is_written_with_the_closest_match() -> None:
    with pytest.raises(TypeError, match=r"EMA has no parameter 'decya'; did you mean 'decay'\? It takes: decay"):
        Build(EMA, decya=0.9)


def test_a_parameter_like_no_other_is_refused_with_the_list() -> None:
    with pytest.raises(TypeError, match=r"adamw has no parameter 'zzz'\. It takes: lr, weight_decay, betas"):
        Build(adamw, zzz=1)


def test_the_builds_own_word_can_be_a_parameter() -> None:
    def wrap(make: int = 0, arguments: int = 0) -> tuple[int, int]:
        return make, arguments

    assert Build(wrap, make=1, arguments=2)() == (1, 2)


# ---------------------------------------------------------------- calling
def test_nested_builds_are_built_wherever_they_stand() -> None:
    half = Build(Fraction, numerator=1, denominator=2)
    base, factor, _ = Build(scaled, base={"a": [half, (half,)]}, factor=2)()
    assert base == {"a": [Fraction(1, 2), (Fraction(1, 2),)]} and factor == 2


def test_what_the_context_offers_reaches_whoever_asks_for_it_and_has_none() -> None:
    build = Build(scaled, base=Build(scaled, base=0), factor=2)
    assert build(data="d", other="o") == ((0, 1.0, "d"), 2, "d")
    assert Build(scaled, base=0, data="own")(data="d")[2] == "own"


def test_builds_are_equal_if_they_would_build_the_same() -> None:
    a, b = Build(EMA, decay=0.9), Build(EMA, decay=0.9)
    assert a == b and hash(a) == hash(b) and len({a, b}) == 1
    assert a != Build(EMA, decay=0.8) and a != Build(Clip) and a != 3
    assert a.with_arguments(decay=0.8) == Build(EMA, decay=0.8) and a.arguments == {"decay": 0.9}
    assert repr(a) == "Build(EMA, decay=0.9)"


# ---------------------------------------------------------------- plain data
def test_plain_data_is_the_inverse_of_itself() -> None:
    build = Build(adamw, lr=0.1, betas=[0.9, 0.99], schedule=Build(Cosine, warmup=0.1))
    data = build.to_data()
    assert data["build"] == "sonde.methods.optimise.descend:adamw"
    assert data["schedule"] == {"build": "sonde.optim.schedules:Cosine", "warmup": 0.1}
    assert Build.from_data(data) == build


@pytest.mark.parametrize("value", [object(), nn.Linear(1, 1), {1, 2}, len], ids=["object", "module", "set", "function"])
def test_what_is_not_plain_is_refused_by_its_type(value: Any) -> None:
    with pytest.raises(TypeError, match=f"plain data and builds; .* is a {type(value).__name__}"):
        Build(scaled, base=value).to_data()


def test_plain_data_that_would_be_read_as_a_build_is_refused() -> None:
    with pytest.raises(TypeError, match="'build' names a constructor"):
        Build(scaled, base={"build": "sonde.methods:EMA"}).to_data()


# ---------------------------------------------------------------- the vocabulary
HOSTILE = [
    "os:system",
    "builtins:eval",
    "builtins:__import__",
    "subprocess:run",
    "torch:load",
    "sonde:train",
    "sonde.core.state:write_state",
    "sonde.core.build:resolve",
    "sonde.core.build:importlib",
    "sonde.core.recipe:Recipe",
    "sonde.data.rows:torch",
    "sonde.data.rows:count",
    "sonde.data.files:os",
    "sonde.data:os.system",
    "sonde.methods.observe.metrics_log:os",
    "sonde.methods.observe.metrics_log:os.truncate",
    "sonde.methods.observe.checkpoint:write_state",  # merely imported there
    "sonde.methods.observe.checkpoint:read_state",
    "sonde.data.loader:Run",
    "sonde.data.fetch:store",  # writes what another build downloads, wherever a name with slashes points
    "sonde.data.fetch:fetch",
    "sonde.data.fetch:Pinned",
    "sonde.data:Dataset",
    "sonde.methods:Checkpoint",  # writes files
    "sonde.methods.observe.checkpoint:Checkpoint",
    "sonde.methods.observe.metrics_log:MetricsLog",
    "sonde.methods.regularise.early_stopping:LOWER_IS_BETTER",
    "sonde.objectives.classify:F",
    "sonde.methods.augment._labels:mixed",
    "sonde.methods.optimise.descend:_groups",
    "sonde.methods.__init__:EMA",
    "sonde.methods:__builtins__",
    "sonde.methods:EMA.__init__",
    "sonde.methods.regularise.ema:EMA.load_state_dict",
    "sonde.methods.regularise.ema:EMA:x",
    "sonde.methods/../os:system",
    "sonde.methods..os:system",
    ".sonde.methods:EMA",
    "sonde.methods",
    "sonde.methods:",
    ":EMA",
    ":",
    "",
    "sonde.nothing:EMA",
    "sonde.methodsx:EMA",
    "sonde.methods.nothing:EMA",
    "sonde.methods:Nothing",
    "sonde.methods:EMA\n",
    "sonde.methods :EMA",
    "sonde.methods.optimise.descend:Callable",
    "sonde.objectives.classify:Any",
]


@pytest.mark.parametrize("path", [*HOSTILE, None, 3, ["sonde.methods:EMA"], {"build": "sonde.methods:EMA"}], ids=repr)
def test_a_name_outside_the_vocabulary_is_refused_for_safety(path: Any) -> None:
    with pytest.raises(Refused, match="is not part of sonde's vocabulary") as caught:
        Build.from_data({"build": path})
    assert caught.value.code == 4


@pytest.mark.parametrize("make", [Checkpoint, MetricsLog])
def test_what_writes_files_cannot_be_named_by_a_recipe(make: Any) -> None:
    with pytest.raises(Refused):
        Build.from_data({"build": f"{make.__module__}:{make.__qualname__}"})


@pytest.mark.parametrize(
    "make", [EMA, Clip, LabelSmoothing, adamw, Cosine, Classify, Split, load], ids=lambda m: m.__name__
)
def test_the_vocabulary_can_be_named(make: Any) -> None:
    assert Build.from_data({"build": f"{make.__module__}:{make.__qualname__}"}).make is make


def test_a_package_that_exports_a_name_can_be_named_for_it() -> None:
    assert Build.from_data({"build": "sonde.methods:EMA"}).make is EMA
    assert Build.from_data({"build": "sonde.data:load"}).make.__module__ == "sonde.data.named"


def test_the_callers_own_code_can_be_named_once_it_is_passed() -> None:
    data = {"build": f"{scaled.__module__}:scaled", "base": 1}
    with pytest.raises(Refused, match="pass your own code"):
        Build.from_data(data)
    assert Build.from_data(data, own=[scaled])() == (1, 1.0, None)
    nested = {"build": f"{scaled.__module__}:scaled", "base": [{"k": data}]}
    assert Build.from_data(nested, own=[scaled])()[0] == [{"k": (1, 1.0, None)}]


def test_own_code_opens_no_other_door() -> None:
    with pytest.raises(Refused):
        Build.from_data({"build": "os:system"}, own=[scaled])


# ---------------------------------------------------------------- fuzz
NAMES = (
    st.sampled_from(HOSTILE)
    | st.text(max_size=12)
    | st.builds("sonde.{}:{}".format, st.sampled_from(VOCABULARY), st.text(max_size=6))
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5) | NAMES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
        | st.fixed_dictionaries({"build": NAMES | st.just("sonde.methods:EMA") | inner}, optional={"decay": inner})
    ),
    max_leaves=10,
)


@LAW
@given(JSON)
def test_whatever_is_read_nothing_but_the_vocabulary_is_imported(data: Any) -> None:
    before = set(sys.modules)
    try:
        build = Build.from_data({"build": "sonde.methods:LabelSmoothing", "amount": data})
        assert build.make is LabelSmoothing
    except (SondeError, TypeError) as error:
        assert str(error)
    inside = tuple(f"sonde.{part.partition('.')[0]}" for part in VOCABULARY)
    new = {m for m in set(sys.modules) - before if m.startswith("sonde")}
    assert all(m.startswith(inside) for m in new)
    assert not {"antigravity", "this"} & set(sys.modules)
