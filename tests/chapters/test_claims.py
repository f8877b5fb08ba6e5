"""The rules of exploration on numbers, claims of runs of known nature, and of a study in parts."""

import dataclasses
import json

import polars as pl
import pytest

from emoscope.analysis import claim_rules
from emoscope.analysis.claim_rules import (
    Decision,
    FewClips,
    carries_over,
    crowds,
    handle,
    hurts,
    pulls,
    spares,
    untested,
)
from emoscope.analysis.declared import CLAIMS, RESERVED, SUPPORTED, UNSUPPORTED, UNTESTED, Test
from emoscope.analysis.load import read_run
from emoscope.analysis.parts import read_study
from emoscope.chapters.claims import EXPLORED, claims_of_study, stored_tests
from emoscope.chapters.results import compute_tables, write_tables
from emoscope.schemas import empty
from tests.helpers.planted import THREE, write_run
from tests.helpers.runs import write_simulation

NAMES = [*(claim.name for claim in CLAIMS), *EXPLORED]
OFF = [claim.name for claim in CLAIMS if claim.kind == "deactivate"]


def effect(estimate, low, high, **more):
    return {"estimate": estimate, "low": low, "high": high, "unreliable": False, "reason": None} | more


def judged(estimate, low, high, p=0.01, verdict=""):
    return Test("x", verdict, "", estimate, low, high, low, high, p)


LOSES = effect(-8.0, -11.0, -5.0)


@pytest.mark.parametrize(
    ("share", "own", "verdict", "word"),
    [
        (SUPPORTED, LOSES, SUPPORTED, ""),
        (RESERVED, LOSES, RESERVED, ""),
        (SUPPORTED, effect(-1.0, -3.0, 1.0), UNSUPPORTED, "does not clearly fall"),
        (SUPPORTED, effect(3.0, 1.0, 5.0), UNSUPPORTED, "does not clearly fall"),
        (UNSUPPORTED, LOSES, UNSUPPORTED, "not shown to be disproportionate"),
        (UNTESTED, LOSES, UNTESTED, "could not be made"),
        (None, LOSES, UNTESTED, "could not be made"),
        (SUPPORTED, LOSES | {"unreliable": True}, UNTESTED, "letters"),
        (SUPPORTED, effect(-3.0, None, None, reason="only 3 speakers"), UNTESTED, "only 3 speakers"),
        (SUPPORTED, None, UNTESTED, "no matched neurons"),
    ],
)
def test_switching_off_hurts_where_the_share_is_larger_and_the_emotion_loses(share, own, verdict, word):
    found = hurts(share, own)
    assert found.verdict == verdict
    assert word in found.why


def test_what_is_lost_is_told_beside():
    assert hurts(SUPPORTED, LOSES, "removes evidence").why == "it removes evidence"
    assert hurts(SUPPORTED, LOSES, "adds evidence").why == "it adds evidence"


def test_others_are_spared_where_they_surely_lose_less_than_a_third():
    assert spares(SUPPORTED, judged(5.0, 1.0, 9.0)).verdict == SUPPORTED
    assert spares(RESERVED, judged(5.0, 1.0, 9.0)).verdict == RESERVED
    assert spares(RESERVED, judged(5.0, -1.0, 11.0)).verdict == UNSUPPORTED
    assert spares(UNSUPPORTED, judged(5.0, 1.0, 9.0)).verdict == UNTESTED
    assert spares(SUPPORTED, None).verdict == UNTESTED


def test_amplifying_pulls_where_the_interval_lies_above_zero():
    assert pulls(judged(2.0, 1.0, 3.0), None).verdict == SUPPORTED
    assert pulls(judged(2.0, -1.0, 5.0), None).why == "the interval is not above 0"
    assert pulls(judged(-2.0, -3.0, -1.0), None).verdict == UNSUPPORTED
    assert pulls(judged(2.0, 1.0, 3.0), effect(1.0, 0.5, 1.5)).why == "excess pull gap +1.0 [+0.5, +1.5]"
    assert pulls(None, None).verdict == UNTESTED


def test_why_a_pull_is_not_testable_is_said():
    found = pulls(Test("pulls", UNTESTED, claim_rules.ONE_DRAW), None)
    assert (found.verdict, found.why) == (UNTESTED, claim_rules.ONE_DRAW)


def test_modest_data_are_enough_where_few_clips_surely_keep_most_of_the_evidence_beyond_controls():
    hurt, taken = Decision(SUPPORTED, ""), judged(-0.4, -0.6, -0.2)

    def size(n, beyond=taken, enough=-0.05):
        return FewClips(n, beyond, judged(enough - 0.1, enough - 0.2, enough), 95.2)

    def modest(*sizes, clips=100):
        return claim_rules.modest(hurt, clips, sizes)

    best = modest(size(5, judged(-0.1, -0.3, 0.1)), size(20), size(50))
    assert (best.verdict, best.number, best.why) == (
        SUPPORTED, "pairwise change with 20 clips −0.40 nat [−0.60, −0.20]", "95 % of the full set’s",
    )  # fmt: skip
    unsure = modest(size(5, enough=-0.05), size(50, enough=0.01))  # the larger one is tested first
    assert (unsure.verdict, unsure.why) == (UNSUPPORTED, "95 % of the full set’s; at least 80 % is not sure")
    assert modest(size(50, judged(-0.4, -0.9, 0.1))).verdict == UNSUPPORTED  # no more than controls may do
    assert modest(size(100)).verdict == UNTESTED  # not few
    assert modest(size(30), clips=50).verdict == UNTESTED  # more than half of what the full set took
    assert modest(size(20), clips=50).verdict == SUPPORTED
    assert modest(FewClips(20, Test("modest", UNTESTED, "why"), Test("modest", UNTESTED))).why == "why"
    assert claim_rules.modest(untested(""), 20, []).verdict == UNTESTED


def test_neurons_crowd_where_even_the_lower_end_exceeds_every_one_of_enough_shuffles():
    row = {"estimate": 30.0, "low": 25.0, "high": 35.0, "shuffled": 20.0, "shuffled_min": 17.0, "shuffled_max": 24.0}
    row |= {"draws": 19, "reason": None}
    assert crowds(row).verdict == SUPPORTED
    assert crowds(row | {"shuffled_max": 26.0}).verdict == UNSUPPORTED
    assert crowds(row | {"draws": 18}).why == "only 18 draws of shuffled labels: 19 are needed"
    assert crowds(row | {"low": None, "reason": "only 2 folds"}).why == "only 2 folds"
    assert crowds(None).verdict == UNTESTED


def test_sets_carry_over_where_the_declared_estimand_holds_there_after_correction():
    test = judged(-0.4, -0.6, -0.2)
    assert carries_over(test, 0.02, SUPPORTED, 40.0, True).verdict == SUPPORTED
    assert carries_over(test, 0.02, SUPPORTED, 40.0, True).why == "keeps 40 % of the gap of that corpus’s own sets"
    assert carries_over(test, 0.06, RESERVED, 40.0, True).verdict == UNSUPPORTED
    assert carries_over(test, 0.06, UNSUPPORTED, 40.0, True).verdict == UNTESTED
    assert carries_over(judged(0.4, 0.2, 0.6), 0.02, SUPPORTED, None, True).verdict == UNSUPPORTED
    assert carries_over(test, 0.02, SUPPORTED, 40.0, False).verdict == UNTESTED
    assert carries_over(Test("x", UNTESTED, "too few"), None, SUPPORTED, None, True).why == "too few"


@pytest.mark.parametrize(
    ("hurt", "steers", "verdict"),
    [
        (SUPPORTED, SUPPORTED, SUPPORTED),
        (SUPPORTED, RESERVED, RESERVED),
        (RESERVED, SUPPORTED, RESERVED),
        (RESERVED, UNSUPPORTED, UNSUPPORTED),
        (SUPPORTED, UNSUPPORTED, UNSUPPORTED),
        (UNSUPPORTED, SUPPORTED, UNSUPPORTED),
        (UNTESTED, UNSUPPORTED, UNSUPPORTED),
        (SUPPORTED, UNTESTED, UNTESTED),
        (SUPPORTED, None, UNTESTED),
    ],
)
def test_a_handle_takes_both_and_never_stands_where_the_declared_claim_failed(hurt, steers, verdict):
    assert handle(Decision(hurt, ""), steers).verdict == verdict


def verdicts(tables):
    return dict(tables.table("claims").select("name", "verdict").iter_rows())


def test_a_planted_loss_is_supported_and_a_planted_answer_shift_is_not(tmp_path):
    planted = compute_tables(read_run(write_run(tmp_path / "planted", THREE, 6, 8)))
    found = verdicts(planted)
    assert list(found) == NAMES
    for name in OFF:
        assert found[name] == RESERVED, name
    assert found["hurts"] == RESERVED
    # amplifying adds the same to the option on every clip: the answer moves, and nothing is heard better
    assert (found["steers"], found["pulls"], found["handle"]) == (UNSUPPORTED, SUPPORTED, UNSUPPORTED)
    assert found["transfer"] == found["crowds"] == UNTESTED
    rows = planted.table("claims").rows_by_key("name", named=True, unique=True)
    assert "the matched neurons are not well matched" in rows["exists"]["why"]  # they differ by 0.31
    assert "beyond matched neurons alone, as there are no orthogonal sets" in rows["exists"]["why"]
    assert [name for name, row in rows.items() if row["declared"]] == NAMES[:6]
    assert rows["selective"]["why"].startswith("closest: ")
    assert "{" not in rows["selective"]["why"]


@pytest.mark.parametrize("what", ["nothing", "bias", "uneven"])
def test_shifts_of_answers_support_no_declared_claim(tmp_path, what):
    found = verdicts(compute_tables(read_run(write_simulation(tmp_path, what, speakers=8, clips=6, matched=5))))
    assert {found[name] for name in OFF} == {UNSUPPORTED}
    assert found["hurts"] == UNSUPPORTED
    assert found["spares"] == UNTESTED


@pytest.mark.parametrize(
    ("more", "why"),
    [
        ({"speakers": None}, "speakers are unknown"),
        ({"speakers": 4}, "only 0 emotions have pairs of which at least 5 speakers"),
        ({"letter_mass": 0.4}, "too few answers are letters"),
        ({"matched": 4}, "4 draws of control sets: 5 are needed"),
        ({"matched": 0}, "0 draws of control sets: 5 are needed"),
    ],
)
def test_nothing_is_testable_without_controls_units_speakers_or_letters(tmp_path, more, why):
    whole = compute_tables(
        read_run(write_simulation(tmp_path, "evidence", **({"speakers": 6, "clips": 3, "matched": 5} | more)))
    )
    assert set(whole.table("claims")["verdict"]) == {UNTESTED}
    tests = whole.table("tests").filter(kind="deactivate")
    assert len(tests) == 3
    assert all(why in reason for reason in tests["why"])
    assert tests["estimate"].null_count() == 3


def test_a_pilot_supports_no_claim(tmp_path):
    folder = write_simulation(tmp_path, "evidence", clips=2, matched=5)
    (folder / "manifest.json").write_text(json.dumps({"pilot": {"verdict": []}}))
    found = compute_tables(read_run(folder)).table("claims")
    assert set(found["why"]) == {"a pilot supports no claim"}
    assert set(found["verdict"]) == {UNTESTED}


def test_speakers_on_both_sides_are_named(tmp_path):
    folder = write_simulation(tmp_path, "evidence", clips=4, matched=5)
    manifest = json.loads((folder / "manifest.json").read_text())
    (folder / "manifest.json").write_text(json.dumps(manifest | {"speakers_shared": 2}))
    found = compute_tables(read_run(folder)).table("tests").row(0, named=True)
    assert (found["name"], found["verdict"]) == ("exists", RESERVED)
    assert found["why"].startswith("2 speakers are on both sides; beyond matched neurons alone")


def test_stored_tests_are_what_was_decided(tmp_path):
    tables = compute_tables(read_run(write_simulation(tmp_path, "evidence", speakers=6, clips=3, matched=5)))
    for row in tables.table("tests").iter_rows(named=True):
        test = stored_tests(tables.table("tests"))[row["name"]]
        assert (test.verdict, test.p, test.units) == (row["verdict"], row["p"], row["units"])


@pytest.fixture
def whole(tmp_path):
    """Two corpora: in one evidence is lost, in the other hardly anything happens."""
    parts = []
    for name, what in (("first", "evidence"), ("second", "nothing")):
        write_tables(write_simulation(tmp_path / "parts" / name, what, speakers=6, clips=4, matched=5))
        parts.append({"name": name, "role": "main", "folder": f"parts/{name}", "failed": None})
    parts.append(parts[0] | {"name": "first.shared", "role": "shared"})
    (tmp_path / "manifest.json").write_text(json.dumps({"parts": parts}))
    return tmp_path


def claims_with(folder, frame):
    return claims_of_study(dataclasses.replace(read_study(folder), computed={"transfer": frame}))


def said(found):
    return {(row["name"], row["corpus"], row["source"]): row for row in found.iter_rows(named=True)}


def transfer(*rows):
    usual = {"kind": "deactivate", "measure": "excess_gap", "diagonal": False, "fused": False, "unreliable": False}
    usual |= {"uar_low": 60.0, "chance": 33.3, "source": "first", "host": "second"}
    frame = pl.DataFrame([usual | row for row in rows], infer_schema_length=None)
    return empty("transfer").pipe(lambda empty: pl.concat([empty, frame], how="diagonal_relaxed"))


def test_the_claims_of_a_study_in_parts(whole):
    found = said(claims_with(whole, empty("transfer")))
    assert len(found) == 2 * (len(NAMES) - 1) + 1
    assert found["exists", "first", None]["verdict"] == RESERVED
    assert found["hurts", "first", None]["verdict"] == RESERVED
    assert found["exists", "second", None]["verdict"] == found["hurts", "second", None]["verdict"] == UNSUPPORTED
    assert found["transfer", "", None]["why"] == "sets were not exchanged between corpora"


def test_where_the_untouched_model_is_at_chance_no_claim_about_the_corpus_is_testable(whole):
    path = whole / "parts/first/tables/uar.parquet"
    at_chance = pl.read_parquet(path).with_columns((pl.col("chance") - 2.0).alias("low"))
    at_chance.write_parquet(path)
    found = said(claims_with(whole, transfer({"uar_low": 30.0})))
    for name in EXPLORED:
        if name != "transfer":
            assert found[name, "first", None]["verdict"] == UNTESTED
    assert "not clearly above chance" in found["hurts", "first", None]["why"]
    assert found["transfer", "second", "first"]["verdict"] == UNTESTED
    assert found["hurts", "second", None]["verdict"] == UNSUPPORTED


def test_first_claims_are_corrected_over_all_corpora(whole):
    """A p value that holds in a corpus alone does not where two were tested."""
    for name in ("first", "second"):
        path = whole / "parts" / name / "tables" / "tests.parquet"
        frame = pl.read_parquet(path)
        frame.with_columns(pl.when(name="exists").then(0.02).otherwise("p").alias("p")).write_parquet(path)
    found = said(claims_of_study(read_study(whole)))
    # both of 0.02, and two of steering that could not be tested: 4 times 0.02
    for name in OFF:
        assert found[name, "first", None]["verdict"] == UNSUPPORTED, name
    assert found["exists", "first", None]["why"] == ""  # the reservations of the verdict before are none of this one
    assert found["hurts", "first", None]["verdict"] == UNSUPPORTED


def test_a_part_that_failed_says_why(whole):
    manifest = json.loads((whole / "manifest.json").read_text())
    manifest["parts"][1]["failed"] = "fewer than two identifiable emotions"
    (whole / "manifest.json").write_text(json.dumps(manifest))
    found = claims_of_study(read_study(whole)).filter(pl.col("corpus") == "second", ~pl.col("declared"))
    assert set(found["why"]) == {"fewer than two identifiable emotions"}
