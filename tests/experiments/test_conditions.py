"""The table of conditions, and what each of them does to the items of a fold."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import msgspec
import numpy as np
import polars as pl
import pytest

from emoscope.experiments.conditions import describe, layer_ranges, plan_conditions, planned_sets, set_spec
from emoscope.experiments.intervene import SetsByFold
from emoscope.experiments.schema import Controls, Interventions, Study, StudyError
from emoscope.experiments.study import parse_study, read_study
from emoscope.interventions.kinds import deactivate, mix, steer, union
from emoscope.models.values import ModelInfo
from emoscope.vocabulary import AGNOSTIC

INFO = ModelInfo("m", "f", None, "", 2, 4, 8, 16, True, "left", "float32", "cpu")
MEANS = np.arange(8, dtype=np.float32) / 4
EMOTIONS = ("anger", "fear")


def planned(study, emotions, layers=0):
    """The table of the sets that a study wants."""
    return planned_sets(set_spec(study, emotions, layers))


def plan(**interventions):
    text = '[identify]\nselectors = ["mad", "cas"]\n[headline]\nselector = "cas"\nbudget = 0.25'
    study = parse_study(text).with_budget(0.25)
    study = msgspec.structs.replace(
        study,
        interventions=Interventions(**interventions),
        controls=Controls(matched=6, random=1, shuffled=1, orthogonal=1),
    )
    return plan_conditions(study, planned(study, EMOTIONS), INFO.layers)


@pytest.fixture(scope="module")
def both():
    return plan(deactivate=("zero", "mean"))


@pytest.fixture(scope="module")
def sets():
    cas = {"anger": np.array([1, 6]), "fear": np.array([6, 7])}
    return SetsByFold({("cas@0.25:audio+answer", "f1"): cas}, INFO, MEANS)


def of(conditions, name):
    return conditions.row(by_predicate=pl.col("condition") == name, named=True)


def test_the_demo_plans_its_490_conditions() -> None:
    demo = read_study(Path(__file__).parents[2] / "src" / "emoscope" / "data" / "demo.toml").with_budget(0.05)
    conditions = plan_conditions(demo, planned(demo, ("anger", "fear", "neutral")), 4)
    assert conditions.height == 490
    assert conditions["condition"].n_unique() == 490
    headline = conditions.filter(pl.col("headline"))
    assert headline["kind"].to_list() == ["deactivate"] * 3 + ["steer"] * 3
    assert headline["to"].to_list() == ["zero"] * 3 + [None] * 3
    assert conditions.filter(pl.col("generated"))["condition"].to_list() == ["baseline", *headline["condition"]]


def test_the_mean_goes_to_target_sets_and_matched_controls(both) -> None:
    mean = both.filter((pl.col("kind") == "deactivate") & (pl.col("to") == "mean"))
    assert set(mean["control"]) == {"target", "matched"}
    assert mean.filter(control="target")["selector"].to_list() == ["mad", "mad", "cas", "cas"]
    assert mean.filter(control="matched").height == 6 * 2
    assert mean["condition"][0] == "deactivate/anger/mad@0.25:audio+answer/to=mean"
    assert not mean["headline"].any()
    zero = plan()
    assert "mean" not in zero["to"].to_list()
    # what was planned without the mean stays as it is, so that its answers are used again
    assert both.join(zero, on=both.columns, how="semi", nulls_equal=True).height == zero.height


def test_five_matched_draws_are_deactivated_at_some_positions(both) -> None:
    some = both.filter(pl.col("positions") != "all")
    assert set(some["to"]) == {"zero"}
    assert some.filter(control="target").height == 3 * 2
    assert sorted(some.filter(control="matched")["draw"].unique()) == [0, 1, 2, 3, 4]
    assert some.filter(control="matched").height == 5 * 3 * 2
    assert set(some["selector"]) == {"cas"}
    name = "deactivate/fear/cas@0.25:audio+answer~matched4/at=text"
    assert of(both, name)["positions"] == "text"


def test_reliance_has_both(both) -> None:
    names = both.filter(kind="reliance")["condition"].to_list()
    zero = ["reliance/all", "reliance/layer=0", "reliance/layer=1", "reliance/union"]
    assert names == [*zero, *(f"{name}/to=mean" for name in zero)]
    assert plan(deactivate=()).filter(kind="reliance")["condition"].to_list() == zero


def test_conditions_mean_interventions(both, sets) -> None:
    def done(name):
        return sets.intervention(of(both, name), "f1")

    anger = "deactivate/anger/cas@0.25:audio+answer"
    assert done(anger) == deactivate([1, 6])
    assert done(f"{anger}/to=mean") == deactivate([1, 6], to="mean", means=[0.25, 1.5])
    assert done(f"{anger}/at=audio") == deactivate([1, 6], "audio")
    assert done("steer/fear/cas@0.25:audio+answer/alpha=0.5") == steer([6, 7], 0.5)
    assert done("reliance/union/to=mean") == deactivate([1, 6, 7], to="mean", means=[0.25, 1.5, 1.75])
    assert done("reliance/layer=1/to=mean") == deactivate([4, 5, 6, 7], to="mean", means=[1, 1.25, 1.5, 1.75])
    assert done("reliance/all/to=mean").edits[0].means.tolist() == MEANS.tolist()
    assert done("null").edits == done("baseline").edits == ()


def test_controls_follow_the_strengths_of_the_headline_up_to_1() -> None:
    steered = plan(alphas=(-0.5, 0.25, 1.0, 2.0)).filter(kind="steer")
    asked = {
        control: {alpha: group.height // 2 for (alpha,), group in steered.filter(selector="cas", control=control).group_by("alpha")}
        for control in ("target", "matched", "orthogonal", "random", "shuffled")
    }  # fmt: skip
    assert asked == {
        "target": dict.fromkeys((-0.5, 0.25, 0.5, 1.0, 2.0), 1),
        # as many draws along the dose, of which the mean of three is enough below and above it
        "matched": dict.fromkeys((0.25, 0.5, 1.0), 6) | dict.fromkeys((-0.5, 2.0), 3),
        "orthogonal": dict.fromkeys((0.25, 0.5, 1.0), 1), "random": {0.5: 1}, "shuffled": {0.5: 1},
    }  # fmt: skip
    assert set(steered.filter(selector="mad")["alpha"]) == {0.5}
    assert "steer/fear/cas@0.25:audio+answer~matched2/alpha=-0.5" in steered["condition"].to_list()


def test_permuted_draws_are_shuffled_ones_that_are_switched_off_to_zero_and_nothing_else() -> None:
    text = "[controls]\nmatched = 1\nrandom = 0\northogonal = 0\nshuffled = 2\npermuted = {}\n[interventions]\ndeactivate = ['zero', 'mean']"
    few, many = (parse_study(text.format(permuted)).with_budget(0.25) for permuted in (0, 7))
    plans = [plan_conditions(study, planned(study, EMOTIONS), INFO.layers) for study in (few, many)]
    shuffled = plans[1].filter(control="shuffled")
    assert shuffled.filter(kind="deactivate").height == 7 * 2
    assert shuffled.filter(kind="steer")["draw"].unique().sort().to_list() == [0, 1]
    assert set(shuffled["to"]) == {"zero", None}
    # the others stay as they are, and so do their answers
    assert plans[1].join(plans[0], on=plans[0].columns, how="anti", nulls_equal=True).height == 5 * 2
    assert plans[0].join(plans[1], on=plans[0].columns, how="anti", nulls_equal=True).is_empty()
    assert "permuted" not in planned(many, EMOTIONS)["control"].to_list()
    assert many.pilot(4).controls.permuted == 0


def test_matched_controls_of_other_budgets_are_switched_off_and_nothing_else() -> None:
    text = (
        '[identify]\nselectors = ["mad", "cas"]\nbudgets = [0.25, 0.5]\n[headline]\nselector = "cas"\nbudget = 0.25\n'
    )
    study = parse_study(text + '[interventions]\ndeactivate = ["zero", "mean"]').with_budget(0.25)
    conditions = plan_conditions(study, planned(study, EMOTIONS), INFO.layers)
    other = conditions.filter(pl.col("budget") == 0.5, pl.col("control") == "matched")
    assert set(other["selector"]) == {"cas"}
    assert other["draw"].unique().sort().to_list() == [0, 1, 2]
    assert other.height == 3 * 2
    assert set(other.select("kind", "to", "positions", "layers").iter_rows()) == {("deactivate", "zero", "all", "all")}
    assert not other["headline"].any()


def test_ranges_of_layers_hold_equally_many_neurons() -> None:
    ranged = plan(layers=("0-0", "1-1")).filter((pl.col("layers") != "all") & (pl.col("kind") != "reliance"))
    assert ranged.height == 2 * 2 * 2 * (1 + 3)  # ranges, kinds, emotions; the headline and three matched draws
    assert set(ranged["selector"]) == {"cas"}
    assert not ranged["headline"].any()
    # anger's set has three neurons in layer 0 (numbers 0 to 3) and one in layer 1 (4 to 7)
    cas = {"anger": np.array([0, 1, 3, 6]), "fear": np.array([6, 7])}
    key = {("cas@0.25:audio+answer", "f1"): cas}
    sets = SetsByFold(key, INFO, MEANS, ranges=layer_ranges(("0-0", "1-1"), 2))
    name = "deactivate/{}/cas@0.25:audio+answer/layers={}"
    assert sets.neurons(of(ranged, name.format("anger", "1-1")), "f1").tolist() == [6]
    first = sets.neurons(of(ranged, name.format("anger", "0-0")), "f1")
    assert len(first) == 1
    assert first[0] in (0, 1, 3)
    assert sets.neurons(of(ranged, name.format("anger", "0-0")), "f1").tolist() == first.tolist()
    # fear has none in layer 0, so none is changed in either range
    assert len(sets.neurons(of(ranged, name.format("fear", "1-1")), "f1")) == 0
    what = {what: asked for what, _, asked in describe(ranged, 10)}
    assert what["steer cas matched control in layers 1-1"] == 60


def test_sets_of_misses_and_false_alarms_act_on_the_emotions_that_they_have() -> None:
    study = parse_study("[controls]\noutcomes = true\nrandom = 0\nshuffled = 0\northogonal = 0").with_budget(0.25)
    sets = planned(study, EMOTIONS)
    kinds = ("misses", "hits-as-misses", "false-alarms", "hits-as-false-alarms")
    lacking = (pl.col("control") == "false-alarms") & (pl.col("emotion") == "fear")
    second = sets.filter(control="hits-as-misses").with_columns(draw=pl.lit(1, pl.Int64), set=pl.lit("second"))
    sets = pl.concat([sets, second])  # of which only the neurons are compared
    mine = plan_conditions(study, sets.filter(~lacking), 2).filter(pl.col("control").is_in(kinds))
    assert dict(mine.group_by("control").len().iter_rows()) == dict.fromkeys(kinds, 4) | {"false-alarms": 2}
    assert mine.filter(control="false-alarms")["condition"].to_list() == [
        "deactivate/anger/cas@0.25:audio+answer~false-alarms0", "steer/anger/cas@0.25:audio+answer~false-alarms0/alpha=0.5",
    ]  # fmt: skip
    assert set(mine["to"]) == {"zero", None}
    assert not mine["headline"].any()
    assert "steer cas sets of hits as misses" in {what for what, _, _ in describe(mine, 10)}
    # a pilot goes without them, and so does a study that does not ask
    assert not study.pilot(4).controls.outcomes
    assert not set(planned(Study().with_budget(0.25), EMOTIONS)["control"]) & set(kinds)


def test_a_profile_switches_the_headline_off_in_each_layer_alone() -> None:
    profile = plan(profile=True, layers=("0-0", "1-1")).filter(pl.col("layers").str.contains("^[0-9]+$") & (pl.col("kind") != "reliance"))  # fmt: skip
    assert profile.height == 2 * 2 * (1 + 3)  # layers, emotions; the headline and three matched draws
    assert set(profile["kind"]) == {"deactivate"}
    assert set(profile["to"]) == {"zero"}
    assert set(profile["selector"]) == {"cas"}
    assert not profile["headline"].any()
    cas = {"anger": np.array([0, 1, 3, 6]), "fear": np.array([6, 7])}
    sets = SetsByFold({("cas@0.25:audio+answer", "f1"): cas}, INFO, MEANS, ranges=layer_ranges(("0-0", "1-1"), 2))
    name = "deactivate/{}/cas@0.25:audio+answer/layers={}"
    # all that the layer holds: nothing is drawn, as in ranges
    assert sets.neurons(of(profile, name.format("anger", "0")), "f1").tolist() == [0, 1, 3]
    assert sets.neurons(of(profile, name.format("fear", "0")), "f1").tolist() == []
    assert sets.intervention(of(profile, name.format("anger", "1")), "f1") == deactivate([6])
    what = {what: asked for what, _, asked in describe(profile, 10)}
    assert what == {
        "deactivate cas to zero in layers each alone": 40,
        "deactivate cas matched control to zero in layers each alone": 120,
    }
    assert plan(profile=True, deactivate=()).filter(pl.col("layers") == "0").filter(kind="deactivate").is_empty()


def test_sets_found_within_ranges_act_there_with_their_controls() -> None:
    text = "[identify]\nselectors = ['cas']\n[interventions]\nlayers = ['0-0', '1-1']\n%s[headline]\nbudget = 0.25"
    usual, study = (parse_study(text % more).with_budget(0.25) for more in ("", "reselect_in_ranges = true\n"))
    conditions = plan_conditions(study, planned(study, EMOTIONS, INFO.layers), INFO.layers)
    anew = conditions.filter(pl.col("layers").str.ends_with("reselected"))
    assert anew.height == 2 * 2 * 2 * (1 + 3)  # ranges, kinds, emotions; the sets and three matched draws
    assert set(anew["layers"]) == {"0-0 reselected", "1-1 reselected"}
    # to whom the analysis compares them: the same layers, as target and matched
    assert anew.group_by("control").len().sort("control").rows() == [("matched", 24), ("target", 8)]
    name = "cas@0.25:audio+answer~layers1-1"
    sets = SetsByFold({(name, "f1"): {"anger": np.array([4, 6])}}, INFO, MEANS, ranges=layer_ranges(("0-0", "1-1"), 2))
    assert sets.intervention(of(anew, f"deactivate/anger/{name}"), "f1") == deactivate([4, 6])
    assert of(anew, f"deactivate/fear/{name}~matched2")["draw"] == 2
    assert sets.intervention(of(anew, f"steer/anger/{name}/alpha=0.5"), "f1") == steer([4, 6], 0.5)
    assert anew["condition"].n_unique() == anew.height
    assert not anew["headline"].any()
    # all else is as it was, and a plan without the model's size leaves them out
    rest = conditions.filter(~pl.col("layers").str.ends_with("reselected"))
    assert rest.equals(plan_conditions(usual, planned(usual, EMOTIONS, INFO.layers), INFO.layers))
    assert "reselected" not in planned(study, EMOTIONS)["control"].to_list()


def test_ranges_to_reselect_are_needed() -> None:
    with pytest.raises(StudyError, match="reselect_in_ranges needs ranges"):
        parse_study("[interventions]\nreselect_in_ranges = true")
    with pytest.raises(StudyError, match="makes one list for all"):
        parse_study(
            "[interventions]\nreselect_in_ranges = true\nlayers = ['thirds']\n"
            "[identify]\nselectors = ['lape-original']\n[headline]\nselector = 'lape-original'"
        )


def test_a_layer_that_the_model_lacks() -> None:
    with pytest.raises(StudyError, match="the model has the layers 0 to 1"):
        layer_ranges(("1-2",), 2)
    with pytest.raises(StudyError, match="is not a range"):
        parse_study('[interventions]\nlayers = ["early"]')


def test_ways_to_steer_without_a_label(both, sets) -> None:
    mine = both.filter(pl.col("kind").is_in(AGNOSTIC))
    assert mine.height == len(AGNOSTIC) * (1 + 3)  # the headline's sets and three matched draws
    assert set(mine["selector"]) == {"cas"}
    assert mine["target"].null_count() == mine.height
    name = "cas@0.25:audio+answer/alpha=0.5"
    cas = {"anger": np.array([1, 6]), "fear": np.array([6, 7])}
    assert sets.intervention(of(both, f"union/{name}"), "f1") == union(cas, 0.5)
    assert sets.intervention(of(both, f"mix/{name}"), "f1") == mix(cas, {"anger": 1, "fear": 1}, 0.5)
    own = {"anger": 0.9, "fear": 0.1}
    asked = dataclasses.replace(sets, shares={7: own})
    assert asked.intervention(of(both, f"mix-own/{name}"), "f1", 7) == mix(cas, own, 0.5)
    assert asked.neurons(of(both, f"mix-own/{name}"), "f1").tolist() == [1, 6, 7]
    counted = {what: asked for what, _, asked in describe(both, 10)}
    assert counted["two-pass cas"] == counted["mix-outputs cas matched control"] == 0
    assert counted["union cas"] == 10
    assert counted["mix-own cas matched control"] == 30
    assert plan(agnostic=()).filter(pl.col("kind").is_in(AGNOSTIC)).is_empty()


def test_a_dry_run_tells_zero_from_mean(both) -> None:
    rows = {what: (count, asked) for what, count, asked in describe(both, 10)}
    assert rows["deactivate cas to zero"] == (2, 40)  # also generated
    assert rows["deactivate cas to mean"] == (2, 20)
    assert rows["deactivate cas matched control to mean"] == (12, 120)
    assert rows["deactivate cas matched control to zero at text positions"] == (10, 100)
    assert rows["reliance to mean"] == (3, 30)
    assert sum(count for count, _ in rows.values()) == both.height


def test_the_default_study_deactivates_to_zero() -> None:
    assert Study().interventions.deactivate == ("zero",)


def test_sets_from_fewer_clips_are_switched_off_and_steered_once() -> None:
    text = "[identify]\nselectors = ['lape-original', 'mad', 'cas']\nitems_per_emotion = 50\nsizes = [5, 20, 50]\nsize_draws = 2"
    study = parse_study(f"{text}\n[headline]\nbudget = 0.25\nalpha = 0.5").with_budget(0.25)
    conditions = plan_conditions(study, planned(study, EMOTIONS), INFO.layers)
    fewer = conditions.filter(pl.col("control") == "fewer")
    # two sizes below the cap, two draws, two emotions, two kinds
    assert fewer.group_by("kind", "size", "draw", "alpha").len().sort("kind", "size", "draw").rows() == [
        (kind, size, draw, alpha, 2)
        for kind, alpha in (("deactivate", None), ("steer", 0.5))
        for size in (5, 20)
        for draw in (0, 1)
    ]
    assert set(fewer["selector"]) == {"cas"}
    assert not fewer["headline"].any()
    assert not fewer["generated"].any()
    assert conditions.filter(pl.col("control") != "fewer")["size"].null_count() == conditions.filter(pl.col("control") != "fewer").height  # fmt: skip
    assert conditions["condition"].n_unique() == conditions.height
    assert "deactivate cas sets of fewer clips to zero" in [what for what, *_ in describe(conditions, 1)]
    # all else is what the study without sizes asks
    usual = msgspec.structs.replace(study, identify=msgspec.structs.replace(study.identify, sizes=()))
    assert plan_conditions(usual, planned(usual, EMOTIONS), 2).equals(conditions.filter(pl.col("control").fill_null("") != "fewer"))  # fmt: skip


def test_a_common_size_costs_one_more_set_of_each_selector() -> None:
    text = "[identify]\nselectors = ['lape-original', 'mad', 'cas']\n%s[headline]\nbudget = 0.25"
    counts = []
    for option in ("", "compare_at_common_size = true\n"):
        study = parse_study(text % option).with_budget(0.25)
        counts.append(plan_conditions(study, planned(study, EMOTIONS), INFO.layers)["selector"].value_counts())
    more = dict(counts[1].iter_rows())
    # deactivation and steering of two emotions, of all but the one that makes one list
    assert {name: more[name] - count for name, count in counts[0].iter_rows() if name} == {"lape-original": 0, "mad": 4, "cas": 4}  # fmt: skip
