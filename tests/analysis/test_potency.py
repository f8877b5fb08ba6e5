"""How far answers move, and sets under wrong names, against loops over the stored answers of a real run."""

from __future__ import annotations

from math import exp, log

import numpy as np
import polars as pl
import pytest

from emoscope.analysis.contrasts import compare
from emoscope.analysis.load import read_run
from emoscope.analysis.potency import MISNAMED, divergence, potency
from emoscope.analysis.responses import build_responses
from tests.golden.outputs import unpack


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return read_run(unpack("demo", tmp_path_factory.mktemp("demo")))


@pytest.fixture(scope="module")
def found(run):
    responses = build_responses(run)
    return potency(responses, compare(responses, run.conditions))


def probabilities(logp):
    weights = [exp(value - max(logp)) for value in logp]
    return [weight / sum(weights) for weight in weights]


def slow_divergences(run, conditions):
    """Mean over items and conditions of sum p (log p - log q), from the answers as they are stored."""
    said = {
        (row["condition"], row["item"]): probabilities(row["logp"])
        for row in run.answers.filter(
            pl.col("condition").is_in(["baseline", *conditions]), scoring="likelihood"
        ).to_dicts()
    }
    every = []
    for name in conditions:
        for item in {item for condition, item in said if condition == name}:
            before, after = said["baseline", item], said[name, item]
            every.append(sum(p * (log(p) - log(q)) for p, q in zip(before, after, strict=True)))
    return sum(every) / len(every)


def test_divergences_are_those_of_the_stored_answers(run, found):
    acted = run.conditions.filter(pl.col("role") == "headline")
    for kind, control, draws in (
        ("deactivate", "target", [0]),
        ("deactivate", "matched", range(10)),
        ("steer", "target", [0]),
    ):
        own = acted.filter(pl.col("to").fill_null("zero") == "zero", kind=kind, control=control)
        each = [slow_divergences(run, own.filter(draw=draw)["condition"].to_list()) for draw in draws]
        alpha = own["alpha"][0]
        row = found.filter(pl.col("alpha").eq_missing(pl.lit(alpha)), kind=kind, control=control).row(0, named=True)
        assert row["draws"] == len(each)
        assert (row["kl"], row["kl_min"], row["kl_max"]) == pytest.approx(
            (np.mean(each), min(each), max(each)), abs=1e-5
        )


def test_every_control_and_the_wrong_names_have_a_row_for_each_strength(run, found):
    acted = run.conditions.filter(pl.col("role").is_in(["headline", "dose"]), pl.col("to").fill_null("zero") == "zero")
    keys = {(*key, control) for *key, control in acted.select("kind", "alpha", "control").unique().iter_rows()}
    assert set(found.select("kind", "alpha", "control").iter_rows()) == keys | {(*key[:2], MISNAMED) for key in keys}


def test_wrongly_named_sets_are_as_potent_and_not_as_specific(run, found):
    off = {row["control"]: row for row in found.filter(kind="deactivate").to_dicts()}
    assert off[MISNAMED]["draws"] == 2
    assert off[MISNAMED]["kl"] == pytest.approx(off["target"]["kl"])
    # each emotion's items lie once under every other set: their mean gap is minus the gap, shared by the others
    assert off[MISNAMED]["gap"] == pytest.approx(-off["target"]["gap"] / 2)
    # by hand: the accuracy lost on an emotion under a set, for both ways in which all three are misnamed
    answers = run.answers.filter(scoring="likelihood").join(run.items.select("item", "truth"), on="item")
    right = {key: group["correct"].mean() for key, group in answers.group_by("condition", "truth")}
    own = run.conditions.filter("headline", kind="deactivate")
    names = dict(own.select("target", "condition").iter_rows())
    emotions = sorted(names)
    gaps = []
    for shift in (1, 2):
        lost = np.array([
            [100 * (right[names[emotions[(m + shift) % 3]], e] - right["baseline", e]) for e in emotions] for m in range(3)
        ])  # fmt: skip
        gaps.append(np.diag(lost).mean() - lost[~np.eye(3, dtype=bool)].mean())
    assert (off[MISNAMED]["gap_min"], off[MISNAMED]["gap_max"]) == pytest.approx((min(gaps), max(gaps)))


def test_where_nothing_is_asked_there_is_no_divergence(run):
    responses = build_responses(run)
    responses.log_odds[responses.rows["null"]] = np.nan
    assert divergence(responses, {"anger": "null"}) is None
    assert divergence(responses, {"anger": "baseline"}) == 0.0
