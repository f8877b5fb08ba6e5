"""A small study of the embedded model, whose neurons are then switched off and patched one by one."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from emoscope.analysis.oracle_tables import ORACLE, UNTOUCHED
from emoscope.chapters.oracle import draw_oracle, say_oracle, tabulate_oracle
from emoscope.experiments.engine import run_study
from emoscope.experiments.heard import load_inputs
from emoscope.experiments.oracle import FOLDER, TABLES, Source, Wanted, chosen_clips, run_oracle, show_plan
from emoscope.experiments.study import parse_study
from emoscope.interventions.kinds import deactivate
from emoscope.models.registry import load_model
from emoscope.neurons.activity import Activity
from emoscope.neurons.variants import RANDOM
from emoscope.report.theme import to_spec
from emoscope.runs import RunFolder

STUDY = """
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie"] }
[identify]
scope = "audio+answer"
minimum = 1
selectors = ["mad"]
[headline]
selector = "mad"
budget = 0.001
[interventions]
alphas = []
positions = []
reliance = false
agnostic = []
generate = false
[controls]
matched = 0
random = 0
shuffled = 0
orthogonal = 0
"""
WANTED = Wanted(best=2, sampled=3, clips=5, selectors=("mad", "cas"))


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> RunFolder:
    return run_study(parse_study(STUDY), tmp_path_factory.mktemp("runs") / "small")


@pytest.fixture(scope="module")
def study(run):
    return run_oracle(run.path, WANTED)


@pytest.fixture(scope="module")
def answers(run, study) -> dict[str, np.ndarray]:
    """Condition -> log-probabilities, (item, option in canonical order)."""
    own = RunFolder(run / FOLDER)
    table = pl.concat(own.answers(own.read_table("units")["unit"].to_list())).sort("condition", "item")
    return {name: np.array(rows["logp"].to_list()) for (name,), rows in table.group_by("condition")}


def test_every_candidate_is_asked_alone_on_every_clip(run, study, answers):
    known = Source.of(run.path, WANTED).candidates
    for kind in ("deactivate", "patch"):
        assert {f"{kind}/{neuron}" for neuron in known.neurons.tolist()} <= answers.keys()
    table = study.parts[0].table("oracle")
    assert table.height == 2 * len(known.neurons) * len(known.emotions)
    assert set(table["to"]) == {"zero", "partner"}
    assert table.filter("sampled")["neuron"].n_unique() == 3


def by_hand(run: RunFolder, intervention) -> np.ndarray:
    """What the model answers to every clip under a change, one by one, in the canonical order of the options."""
    from emoscope.emotions import in_order

    own, model = RunFolder(run / FOLDER), load_model("tiny")
    items = own.read_table("items").sort("item").to_dicts()
    found = []
    for item, row in zip(items, load_inputs(own, [item["item"] for item in items]), strict=True):
        score = model.score([row], intervention(item).gains(model.info, 1))[0]
        logp = dict(zip(item["options"], score.logp, strict=True))
        found.append([logp[name] for name in in_order(item["options"])])
    return np.array(found)


def test_a_neuron_that_is_off_does_what_its_gain_of_zero_does(run, study, answers):
    neuron = int(study.parts[0].table("oracle").sort(pl.col("effect").abs())["neuron"][-1])
    np.testing.assert_allclose(answers[f"deactivate/{neuron}"], by_hand(run, lambda _: deactivate([neuron])), atol=2e-5)
    assert not np.allclose(answers[f"deactivate/{neuron}"], answers[UNTOUCHED], atol=2e-5)


def test_a_neuron_is_patched_with_the_speakers_clips_of_other_emotions_at_the_positions_of_the_scope(
    run, study, answers
):
    own, model = RunFolder(run / FOLDER), load_model("tiny")
    items = own.read_table("items").sort("item").to_dicts()
    neuron = int(study.parts[0].table("oracle").filter(to="partner").sort(pl.col("effect").abs())["neuron"][-1])
    layer, index = divmod(neuron, model.info.width)
    means = {}
    for item, row in zip(items, load_inputs(own, [item["item"] for item in items]), strict=True):
        seen = []

        class Watch:
            def observe(self, at, _activation, product, scopes, seen=seen):
                seen += [product[0, scopes[0] == 0, index].mean().item()] if at == layer and (scopes == 0).any() else []

        model.score([row], observe=Watch())
        means[item["item"]] = seen[0]

    def patched(item):
        others = [means[i["item"]] for i in items if i["speaker"] == item["speaker"] and i["truth"] != item["truth"]]
        return deactivate([neuron], "audio", to="mean", means=[np.mean(others)])

    np.testing.assert_allclose(answers[f"patch/{neuron}"], by_hand(run, patched), atol=2e-5)
    assert not np.allclose(answers[f"patch/{neuron}"], answers[f"deactivate/{neuron}"], atol=2e-5)


def test_a_set_that_is_kept_leaves_the_rest_of_its_layers_at_their_mean(run, study, answers):
    known, size = Source.of(run.path, WANTED).candidates, Source.of(run.path, WANTED).size
    means = Activity.open(run / "activity.zarr").mean_product()

    def alone(item):
        best = known.best["cas", item["fold"]][known.emotions.index("anger")][:size]
        rest = [n for n in range(4 * 512) if n not in best.tolist() and n // 512 in (best // 512).tolist()]
        return deactivate(rest, to="mean", means=means)

    np.testing.assert_allclose(answers[f"keep/anger/cas:keep:{size}"], by_hand(run, alone), atol=1e-4)


def test_tables_hold_every_selector_the_oracle_and_random_neurons(study):
    part = study.parts[0]
    ranks, sets, areas = (part.table(f"oracle_{name}") for name in ("ranks", "sets", "areas"))
    assert set(ranks["selector"]) == {*WANTED.selectors, *ORACLE.values()}
    assert set(areas["selector"]) == {*WANTED.selectors, *ORACLE.values(), RANDOM}
    pair = (
        areas.filter(selector="mad", against="cas")["area"][0],
        areas.filter(selector="cas", against="mad")["area"][0],
    )
    assert pair[0] == pytest.approx(-pair[1])
    # two sizes: the area is their mean; what is beyond random neurons is the difference
    mad = sets.filter(selector="mad", act="off")
    assert areas.filter(pl.col("against").is_null(), selector="mad")["area"][0] == pytest.approx(mad["effect"].mean())
    chance = sets.filter(selector=RANDOM, act="off")
    np.testing.assert_allclose(mad["excess"], mad["effect"] - chance["effect"])
    assert tabulate_oracle(part).height == len(areas["selector"].unique())
    assert any("one by one" in sentence for sentence in say_oracle(study))
    to_spec(draw_oracle(study), validate=True)


def test_what_was_asked_is_not_asked_again(run, study, monkeypatch):
    before = {name: study.parts[0].table(name) for name in TABLES}
    with monkeypatch.context() as patch:
        patch.setattr("emoscope.experiments.oracle.stages.load", None)
        assert all(run_oracle(run.path, WANTED).parts[0].table(name).equals(table) for name, table in before.items())
    (run / "oracle_sets.parquet").unlink()
    monkeypatch.setattr("emoscope.experiments.intervene._ask", None)
    assert all(run_oracle(run.path, WANTED).parts[0].table(name).equals(table) for name, table in before.items())


def test_the_plan_says_how_many_answers_are_asked(run, study, capsys):
    show_plan(run.path, WANTED)
    told = capsys.readouterr().out
    units = RunFolder(run / FOLDER).read_table("units")
    singles, sets = (int(line.rsplit(": ", 1)[1].split()[0].replace(",", "")) for line in told.splitlines()[:2])
    # the untouched model is asked beside them
    assert singles + sets + 15 == units["items"].sum()


def test_clips_are_spread_over_the_same_speakers_and_a_run_that_is_not_finished_is_refused(tmp_path):
    counts = (("a", 5), ("b", 2), ("c", 2), ("d", 3))
    clips = [
        (f"{who}{n}-{truth}", who, truth) for truth in ("fear", "anger") for who, count in counts for n in range(count)
    ]
    names = dict(zip(("clip", "speaker", "truth"), zip(*clips, strict=True), strict=True))
    items = pl.DataFrame({"item": range(len(clips)), **names, "side": ["both"] * len(clips)})
    found = chosen_clips(items, 6, 0).group_by("truth", "speaker").len()
    assert sorted(found.filter(truth="fear")["len"]) == sorted(found.filter(truth="anger")["len"]) == [1, 1, 2, 2]
    few = chosen_clips(items, 2, 0)
    assert len(set(few["speaker"])) == 2
    assert set(few.filter(truth="fear")["speaker"]) == set(few.filter(truth="anger")["speaker"])
    with pytest.raises(ValueError, match="is no finished run with sets"):
        run_oracle(RunFolder(tmp_path / "new", create=True).path)
