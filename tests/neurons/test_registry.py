"""Selectors that are not emoscope's own, registered by a program or named by an installed package; and kinds of controls."""

from __future__ import annotations

import dataclasses

import numpy as np
import polars as pl
import pytest

from emoscope.neurons import selectors
from emoscope.neurons.controls import CONTROLS, Chosen, Control
from emoscope.neurons.ranking import select_from_sums
from emoscope.neurons.selection import find_sets
from emoscope.neurons.selectors import BUILT_IN, Selector, find_selector, own_code, register

from .helpers import random_activity
from .test_selection import SPEC, make_items

FIRED, TOKENS = np.array([[8, 2, 5], [4, 2, 5], [4, 12, 10]]), np.array([10, 10, 20])


@pytest.fixture(autouse=True)
def _forget_registered(monkeypatch):
    monkeypatch.setattr(selectors, "SELECTORS", dict(selectors.SELECTORS))


def share(given):
    return given.rate / (given.rate.sum(axis=0) + 1e-9)


@pytest.fixture
def package(tmp_path, monkeypatch):
    """An installed package, as an installer leaves it: a module and the metadata that names its selectors."""
    (tmp_path / "voices_selectors.py").write_text(
        "import numpy as np\nfrom emoscope.neurons.selectors import Selector\n\n"
        "def steady(given):\n    return given.mean - given.variance\n\n"
        "spread = Selector('steady', 'mean deviation', steady, needs=('variance',))\n"
        "def plain(given):\n    return given.rate - given.rate.mean(axis=0)\n\nnumber = 3\n"
    )
    info = tmp_path / "voices_selectors-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: voices-selectors\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[emoscope.selectors]\nsteady = voices_selectors:spread\nplain = voices_selectors:plain\n"
        "broken = voices_selectors:number\nother = voices_selectors:spread\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))


def test_a_function_is_a_selector():
    made = register("share", share)
    assert find_selector("share") is made
    # shares: n0 8/16 x 2 = 0.5, n1 0.2, n2 1/3 for anger
    assert [one.neurons.tolist() for one in select_from_sums(FIRED, TOKENS, FIRED, "share", 1)] == [[0], [2], [1]]
    register("share", lambda given: -share(given))
    assert select_from_sums(FIRED, TOKENS, FIRED, "share", 1)[0].neurons.tolist() == [1]


def test_an_own_selector_has_the_controls_of_all_others(tmp_path):
    # an own copy of CAS finds the sets of CAS, and matched, random and shuffled controls by the same rules
    register("margin", selectors.cas)
    activity, _ = random_activity(tmp_path / "a.zarr", items=96, layers=3, width=40)
    spec = dataclasses.replace(SPEC, selectors=("cas", "margin"), headline=("margin", 0.1))
    own = find_sets(activity, make_items(), spec)
    usual = find_sets(activity, make_items(), dataclasses.replace(spec, headline=("cas", 0.1)))
    controls = own.frame.filter(pl.col("control") != "target")
    assert set(controls["control"]) == {"matched", "random", "shuffled"}
    for (name, fold), group in own.sets.items():
        for emotion, neurons in group.items():
            np.testing.assert_array_equal(neurons, usual.sets[name.replace("margin", "cas"), fold][emotion])


def test_it_sees_the_documented_statistics(tmp_path):
    seen = []

    def look(given):
        seen.append((given.emotions, given.layer, given.bar, given.positions.shape, given.variance.shape))
        return given.rate

    register("look", look, needs=("bar", "variance"))
    activity, _ = random_activity(tmp_path / "a.zarr", items=96, layers=3, width=40)
    find_sets(
        activity,
        make_items(),
        dataclasses.replace(SPEC, selectors=("look",), headline=("look", 0.1), controls={"matched": 2, "random": 2}),
    )
    assert {one[0] for one in seen} == {("anger", "fear", "sadness")}
    assert [one[1] for one in seen[::5]] == [0, 1, 2]  # five folds a layer
    assert all(0 < one[2] <= 1 and one[3:] == ((3,), (40,)) for one in seen)


def test_a_kind_of_control_is_an_entry_of_the_registry(tmp_path, monkeypatch):
    def lowest(ground, chosen, excluded):
        free = np.setdiff1d(np.arange(ground.neurons), excluded)
        return lambda emotion, generator: Chosen(free[: len(chosen[emotion])])

    monkeypatch.setitem(CONTROLS, "lowest", Control("lowest", draw=lowest, everywhere=True))
    activity, _ = random_activity(tmp_path / "a.zarr", items=96, layers=3, width=40)
    found = find_sets(activity, make_items(), dataclasses.replace(SPEC, controls={"lowest": 1}))
    assert set(found.frame["control"]) == {"target", "lowest"}
    for name in ("cas@0.05:audio+answer", "cas@0.1:audio+answer"):
        for fold in ("s1", "all"):
            target, drawn = found.sets[name, fold], found.sets[f"{name}~lowest0", fold]
            taken = np.concatenate(list(target.values()))
            for emotion, neurons in drawn.items():
                assert len(neurons) == len(target[emotion])
                assert not set(neurons.tolist()) & set(taken.tolist())


def test_installed_packages_name_selectors(package):
    with pytest.raises(
        ValueError, match="cas, attribution, attribution-contrast, attribution-between, broken, other, plain, steady"
    ):
        find_selector("nothing")
    assert find_selector("steady").needs == ("variance",)
    assert find_selector("plain") == Selector("plain", "own", find_selector("plain").score)
    found = select_from_sums(FIRED, TOKENS, FIRED, "steady", 1, variance=np.array([0.0, 0.0, 9.0]))
    assert [one.neurons.tolist() for one in found] == [[0], [0], [1]]
    with pytest.raises(ValueError, match=r"'broken' of voices_selectors:number is 3: expected a function"):
        find_selector("broken")
    with pytest.raises(ValueError, match="'other' of voices_selectors:spread calls itself 'steady'"):
        find_selector("other")
    with pytest.raises(ValueError, match=r"'casual' is not known: choose from lap, lape, .*, broken, other, plain"):
        find_selector("casual")


def test_a_change_of_code_is_noticed(package):
    assert own_code(BUILT_IN) == {}
    before = own_code(["cas", "steady"])
    assert set(before) == {"steady"}
    register("steady", share)
    after = own_code(["cas", "steady"])
    assert after != before
    assert own_code(["steady"]) == after
    register("steady", share, one_list=True)
    assert own_code(["steady"]) != after


def test_mistakes_are_named():
    with pytest.raises(ValueError, match="'cas' is emoscope's own"):
        register("cas", share)
    with pytest.raises(ValueError, match="'My Share': a name is made of small letters"):
        register("My Share", share)
    with pytest.raises(ValueError, match="'share' needs 'floor': choose from bar, variance"):
        register("share", share, needs=("floor",))
    register("short", lambda given: given.rate[0])
    with pytest.raises(ValueError, match=r"'short' returned scores of the shape \(3,\): .* \(3, 3\)"):
        select_from_sums(FIRED, TOKENS, FIRED, "short", 1)
    register("lost", lambda given: np.where(given.rate > 0.5, np.nan, given.rate))
    with pytest.raises(ValueError, match="'lost' returned 2 scores that are not a number in layer 0: give -inf"):
        select_from_sums(FIRED, TOKENS, FIRED, "lost", 1)
