"""What judging anew changed, on tables that earlier rules made."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import polars as pl
import pytest

from emoscope.analysis.declared import RULE
from emoscope.analysis.rejudged import Verdicts, stored_verdicts, verdicts_of, what_changed
from emoscope.chapters.results import write_tables
from tests.helpers.runs import write_simulation

OLD = {"exist": "supported", "hurts": "supported", "rises": "not testable here"}
"""Claims as version 2 of the rules wrote them."""


def write_old(folder: Path, claims: dict[str, str]) -> None:
    (folder / "tables").mkdir(exist_ok=True)
    columns = {"name": list(claims), "verdict": list(claims.values())}
    whole = pl.DataFrame(columns).with_columns(corpus=pl.lit("planted"), source=pl.lit(None, pl.String))
    whole.write_parquet(folder / "tables/claims.parquet")
    pl.DataFrame({"kind": ["deactivate"], "measure": ["excess_gap"]}).write_parquet(folder / "tables/tests.parquet")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return write_simulation(tmp_path, "evidence", speakers=8, clips=4, matched=6)


def test_tables_of_earlier_rules_are_judged_anew_and_what_changed_is_said(run: Path) -> None:
    write_old(run, OLD)
    before = stored_verdicts(run)
    assert before is not None
    assert before.rule is None
    notes = write_tables(run).notes
    now = stored_verdicts(run)
    assert now is not None
    assert now.rule == RULE
    told = "\n".join(notes)
    assert f"Judged anew by version {RULE} of the rules, before by an earlier version: " in told
    for name, (old, verdict) in {
        "exists": ("supported", now.of["exists", "planted", ""]),
        "grows": ("not testable", now.of["grows", "planted", ""]),
    }.items():
        assert (f"{name} (planted): {old} before, now {verdict}." in told) == (old != verdict)
    assert "Not judged before: disproportionate (planted), selective (planted), steers (planted)" in told
    # once judged anew, nothing is left to say
    assert not any("Judged anew" in note for note in write_tables(run).notes)


def test_a_run_without_tables_says_nothing(run: Path) -> None:
    assert stored_verdicts(run) is None
    assert not any("Judged anew" in note for note in write_tables(run).notes)


def test_the_same_rules_with_another_verdict_are_told() -> None:
    old, new = (Verdicts("3", {("exists", "", ""): verdict}) for verdict in ("supported", "not supported"))
    assert what_changed(old, new) == (
        "Judged anew by the same version 3 of the rules: 1 of 1 verdicts is another.",
        "exists: supported before, now not supported.",
    )
    assert what_changed(old, old) == ()
    assert what_changed(None, new) == ()
    assert what_changed(Verdicts("2", old.of), old) == (
        "Judged anew by version 3 of the rules, before by version 2: none of 1 verdicts is another.",
    )


def test_pairs_of_corpora_are_told_apart() -> None:
    rows = {"name": ["transfer", "transfer"], "corpus": ["a", "b"], "source": ["b", "a"], "verdict": ["x", "y"]}
    found = verdicts_of(pl.DataFrame(rows))
    moved = Verdicts(None, found.of | {("transfer", "a", "b"): "z"})
    assert what_changed(found, moved)[1] == "transfer (b to a): x before, now z."
    gone = Verdicts(None, {("transfer", "a", "b"): "x"})
    assert what_changed(found, gone) == ()  # a verdict less is no other verdict


def test_the_tables_that_version_2_made_of_the_example_run_are_read() -> None:
    archive = Path(__file__).parents[1] / "golden" / "example.frozen.zip"
    with zipfile.ZipFile(archive) as file:
        claims, tests = (
            pl.read_parquet(io.BytesIO(file.read(f"tables/{name}.parquet"))) for name in ("claims", "tests")
        )
    found = verdicts_of(claims, tests)
    assert {("exists", "emogator", ""), ("grows", "emogator", "")} <= set(found.of)
    assert found.of["crowds", "emogator", ""] == "not testable"
