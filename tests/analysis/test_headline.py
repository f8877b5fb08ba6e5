"""What the declared claims about a run rest on: which answers, which controls, and what is left out together."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest

from emoscope.analysis.claim_rules import ONE_DRAW, TOO_UNRELIABLE
from emoscope.analysis.contrasts import compare
from emoscope.analysis.declared import UNTESTED, gather, judge
from emoscope.analysis.headline import carried, declared_evidence, few_clips, from_few, independent_units, pull
from emoscope.analysis.load import read_run
from emoscope.analysis.responses import build_responses
from tests.analysis.slow_claims import asked_of
from tests.analysis.slow_claims import from_few as slow_from_few
from tests.analysis.slow_declared import declared_tests
from tests.helpers.planted import THREE, write_run
from tests.helpers.runs import write_simulation
from tests.helpers.slowly import Slow


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    return write_run(tmp_path_factory.mktemp("planted") / "run", THREE, 6, 3)


@pytest.fixture(scope="module")
def run(planted):
    return read_run(planted)


def evidence(run):
    return declared_evidence(run, build_responses(run))


def changed(run, **tables):
    return replace(run, **tables)


def test_the_evidence_of_a_stored_run_is_that_of_a_slow_count(planted, run):
    asked, control, wanted, left_out = asked_of(Slow(planted))
    found = evidence(run)
    assert (found.control, found.conditions, found.left_out) == (control, wanted, left_out)
    assert (control, left_out, found.clips, found.unit) == ("matched", 0, 54, "speaker")
    expected = declared_tests(asked)
    for name, test in judge(found.evidence).items():
        for column in ("estimate", "low", "high", "set_low", "p", "df"):
            value, other = getattr(test, column), expected[name][column]
            assert value == (other if other is None else pytest.approx(other, rel=1e-6, abs=1e-9)), (name, column)
        assert test.verdict == expected[name]["verdict"]


def with_few(run, draws):
    """The run with some draws of its matched sets as draws of sets from 10 clips."""
    few = (pl.col("control") == "matched") & pl.col("draw").is_in(draws) & (pl.col("role") == "headline")
    few &= pl.col("kind") == "deactivate"
    then = {"control": pl.lit("fewer"), "size": pl.lit(10, run.conditions.schema["size"]), "role": pl.lit("few clips")}
    return changed(run, conditions=run.conditions.with_columns(
        pl.when(few).then(value).otherwise(pl.col(name)).alias(name) for name, value in then.items()
    ))  # fmt: skip


def test_sets_from_few_clips_are_compared_with_the_full_set_beyond_controls(planted, run):
    run = with_few(run, [7, 8, 9])
    slow = Slow(planted)
    slow.conditions = run.conditions.to_dicts()
    responses = build_responses(run)
    found = few_clips(run, responses, 10)
    *expected, share = slow_from_few(asked_of(slow, 10)[0], 3)
    assert found.size == 10
    assert found.share == pytest.approx(share)
    for test, other in zip((found.beyond, found.enough), expected, strict=True):
        for column in ("estimate", "low", "high", "set_low", "p", "df", "draws"):
            assert getattr(test, column) == pytest.approx(other[column], rel=1e-6, abs=1e-9), column
    assert few_clips(run, responses, 11) is None
    assert few_clips(run, responses, 10, {"baseline"}).beyond.why == TOO_UNRELIABLE
    # they count for nothing else
    assert judge(evidence(run).evidence, onward=False)["exists"].draws == 7


def test_sets_from_few_clips_that_are_the_full_set_keep_all_of_it(run):
    asked = evidence(run).asked
    own, draws = asked.off
    found = from_few(gather(*asked._replace(off=(own, [*draws, own, own]))), 2, 10)
    whole = carried(gather(*asked))
    assert found.share == pytest.approx(100)
    assert (found.beyond.estimate, found.beyond.low) == pytest.approx((whole.estimate, whole.low))
    assert (found.enough.estimate, found.enough.high) == pytest.approx((0.2 * whole.estimate, 0.2 * whole.high))
    one = from_few(gather(*asked._replace(off=(own, [draws[0], own, own]))), 2, 10)
    assert one.beyond.why == ONE_DRAW


def with_sessions(run, sessions):
    """``sessions`` names that of each speaker, or of each speaker and take."""
    places = run.items.select("speaker", "take" if "take" in run.items.columns else "clip").rows()
    named = [sessions(int((who or "s0")[1:]), n) for n, (who, _) in enumerate(places)]
    return changed(run, items=run.items.with_columns(session=pl.Series(named, dtype=pl.String)))


def test_sessions_that_speakers_share_are_left_out_together(planted):
    run = with_sessions(read_run(planted), lambda who, n: f"ses{who // 2}")
    responses = build_responses(run)
    units, unit = independent_units(run, responses)
    assert unit == "session"
    assert len(set(units.tolist())) == 3
    for who in range(6):
        assert set(units[responses.speaker == who].tolist()) == {who // 2}
    # three sessions are too few for an interval
    found = declared_evidence(run, responses)
    assert found.unit == "session"
    assert judge(found.evidence)["exists"].why.startswith("only 0 emotions have pairs")


@pytest.mark.parametrize(
    "sessions",
    [
        lambda who, n: None,
        lambda who, n: None if n == 3 else f"ses{who // 2}",  # not known of every clip
        lambda who, n: "one",
        lambda who, n: f"ses{who}",  # a session each
        lambda who, n: f"ses{n % 3}",  # speakers who come again
    ],
)
def test_else_speakers_are(planted, sessions):
    run = with_sessions(read_run(planted), sessions)
    responses = build_responses(run)
    units, unit = independent_units(run, responses)
    assert unit == "speaker"
    assert units.tolist() == responses.speaker.tolist()


def test_items_that_lack_an_option_are_left_out_and_counted(tmp_path):
    whole = evidence(read_run(write_simulation(tmp_path / "whole", "evidence", speakers=6, clips=5, matched=5)))
    assert (whole.clips, whole.left_out) == (90, 0)
    fewer = read_run(
        write_simulation(tmp_path / "fewer", "evidence", speakers=6, clips=5, matched=5, fewer_options=True)
    )
    found = evidence(fewer)
    assert (found.clips, found.left_out) == (72, 18)  # every fifth item
    some = fewer.items.filter(pl.col("options").list.len() == 3)
    alone = evidence(
        changed(fewer, items=some, answers=fewer.answers.filter(pl.col("item").is_in(some["item"].implode())))
    )
    assert judge(alone.evidence) == judge(found.evidence)


def test_items_that_were_not_asked_under_a_control_are_left_out(run):
    name = run.conditions.filter(control="matched", kind="deactivate", positions="all", layers="all", to="zero").filter(
        pl.col("role") == "headline"
    )["condition"][0]
    lost = run.items["item"][0]
    found = evidence(
        changed(run, answers=run.answers.filter(~((pl.col("condition") == name) & (pl.col("item") == lost))))
    )
    assert found.left_out == 1


def controls_named(run, names):
    """The run with some draws of its matched sets under another name."""
    control = pl.when((pl.col("control") == "matched") & pl.col("draw").is_in(names)).then(pl.lit("orthogonal"))
    return changed(run, conditions=run.conditions.with_columns(control.otherwise("control").alias("control")))


def test_claims_are_beyond_orthogonal_sets_where_there_are_enough_else_matched_ones(run):
    assert evidence(run).control == "matched"
    enough = evidence(controls_named(run, range(5)))
    assert enough.control == "orthogonal"
    assert len(enough.evidence.off.draws) == 5
    assert evidence(controls_named(run, range(4))).control == "matched"
    few = evidence(controls_named(changed(run, conditions=run.conditions.filter(pl.col("draw").fill_null(0) < 4)), [0]))
    assert few.control == "orthogonal"  # shown though too few
    assert judge(few.evidence)["exists"].why == "1 draws of control sets: 5 are needed"
    none = changed(run, conditions=run.conditions.filter(pl.col("control").fill_null("target") == "target"))
    found = evidence(none)
    assert found.control is None
    assert judge(found.evidence)["exists"].why == "0 draws of control sets: 5 are needed"


def with_draws(run, most):
    """The run with so many draws of matched sets at some strengths: copies of those at 0.5, over and over."""
    matched = run.conditions.filter(control="matched", kind="steer", alpha=0.5)
    conditions, answers = [run.conditions.join(matched, on="condition", how="anti")], [run.answers]
    for alpha, draw in [(alpha, draw) for alpha, count in most.items() for draw in range(count)]:
        name = pl.col("condition") + f" {alpha} draw {draw}"
        same = matched.filter(draw=draw % 10)
        numbers = [pl.lit(draw, same.schema["draw"]).alias("draw"), pl.lit(alpha, same.schema["alpha"]).alias("alpha")]
        conditions.append(same.with_columns(name, *numbers))
        answers.append(run.answers.join(same.select("condition"), on="condition", how="semi").with_columns(name))
    return changed(run, conditions=pl.concat(conditions), answers=pl.concat(answers))


@pytest.mark.parametrize("fewer", [3, 12])
def test_a_draw_stands_at_the_same_place_under_every_strength(run, fewer):
    most = {0.25: fewer, 0.5: 19, 1.0: 19, 2.0: 0}
    found = evidence(with_draws(run, most)).asked.amplified
    assert {alpha: len(draws) for alpha, (_, draws) in found.items()} == most
    usual = evidence(run).asked.amplified[0.5][1]
    for alpha in most:
        for place, draw in enumerate(found[alpha][1]):
            np.testing.assert_array_equal(draw, usual[place % 10])


def test_only_the_headline_s_sets_and_strengths_count(run):
    found = evidence(run)
    kept = run.conditions.filter(pl.col("condition").is_in(found.conditions))
    assert set(kept["selector"].drop_nulls()) == {"cas"}
    assert set(kept["control"].drop_nulls()) == {"target", "matched"}
    assert set(kept["positions"].drop_nulls()) == set(kept["layers"].drop_nulls()) == {"all"}
    assert kept["size"].null_count() == len(kept)
    assert "mean" not in set(kept["to"].drop_nulls())
    assert found.asked.alpha == 0.5
    assert sorted(found.asked.amplified) == [0.25, 0.5, 1.0, 2.0]


def test_without_baseline_or_sets_there_is_nothing(run):
    assert evidence(changed(run, answers=run.answers.filter(pl.col("condition") != "baseline"))) is None
    assert evidence(changed(run, conditions=run.conditions.filter(kind="baseline"))) is None


def test_the_pull_is_told_with_the_spread_of_draws_from_five_speakers_on(run, tmp_path):
    responses = build_responses(run)
    found = pull(compare(responses, run.conditions))
    assert (found.units, found.draws) == (6, 10)
    assert 1 <= found.df <= 5  # no more than of six speakers
    assert found.low < found.set_low
    few = read_run(write_run(tmp_path / "few", THREE, 4, 2))
    assert pull(compare(build_responses(few), few.conditions)) is None
    assert np.isfinite(found.estimate)
    unreliable = pull(compare(responses, run.conditions, frozenset({"baseline"})))
    assert (unreliable.verdict, unreliable.low) == (UNTESTED, None)
    single = run.conditions.filter((pl.col("control") != "matched") | (pl.col("draw") == 0))
    assert pull(compare(responses, single)).why == ONE_DRAW
