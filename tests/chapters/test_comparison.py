"""Runs side by side: the numbers are those of each run's tables, and what differs is named."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from emoscope.chapters.comparison import shown, side_by_side, write_compare_page
from emoscope.chapters.results import write_tables
from emoscope.schemas import schema

EXAMPLE = Path(__file__).parents[2] / "docs" / "example-run"


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The example run, and the same told to be another study."""
    folder = tmp_path_factory.mktemp("runs")
    one, other = shutil.copytree(EXAMPLE, folder / "one"), shutil.copytree(EXAMPLE, folder / "other")
    write_tables(one)
    manifest = json.loads((other / "manifest.json").read_text())
    manifest["study"]["name"] = "the <b>other</b>"
    manifest["study"]["question"]["wording"] = "plain"
    manifest["headline"]["alpha"] = manifest["study"]["headline"]["alpha"] = 1.5
    manifest["emotions"] = manifest["emotions"][:-1]
    (other / "manifest.json").write_text(json.dumps(manifest))
    conditions = pl.read_parquet(other / "conditions.parquet")
    steered = pl.col("kind").eq("steer") & pl.col("control").eq_missing("matched")
    conditions.filter(~steered).write_parquet(other / "conditions.parquet")
    write_tables(other)
    return one, other


def test_numbers_are_those_of_the_tables(runs: tuple[Path, Path]) -> None:
    rows, _ = side_by_side(runs)
    assert dict(rows.schema) == schema("side_by_side")
    effects = pl.read_parquet(runs[0] / "tables" / "effects.parquet")
    headline = pl.read_parquet(runs[0] / "conditions.parquet").filter("headline").group_by("kind").first()
    alike = ["kind", "selector", "budget", "scope", "to", "alpha", "control", "positions", "layers"]
    effects = effects.filter(pl.col("size").is_null()).join(headline, on=alike, how="semi", nulls_equal=True)
    one = rows.row(0, named=True)
    for measure, kind in (("excess_gap", "deactivate"), ("excess_pull_gap", "steer")):
        declared = effects.filter(measure=measure, kind=kind).row(0, named=True)
        assert [one[measure], one[f"{measure}_low"], one[f"{measure}_high"]] == [
            declared["estimate"], declared["low"], declared["high"],
        ]  # fmt: skip
    verdicts = pl.read_parquet(runs[0] / "tables" / "verdicts.parquet").filter("headline")
    assert {one["verdict"], one["steer_verdict"]} >= set(verdicts["verdict"])
    # the other run did not steer its matched controls
    assert rows["excess_pull_gap"].to_list()[1] is None
    assert rows["excess_gap"].to_list()[1] == one["excess_gap"]
    assert rows["excess_gap_blind"].null_count() == 0


def test_a_copy_without_tables_gives_the_same_numbers(runs: tuple[Path, Path]) -> None:
    rows, differences = side_by_side([runs[0], EXAMPLE])
    assert rows.drop("run").row(0) == rows.drop("run").row(1)
    assert rows["run"].n_unique() == 2
    assert differences == []


def test_what_cannot_be_compared_is_named_with_the_numbers_that_it_touches(runs: tuple[Path, Path]) -> None:
    _, differences = side_by_side(runs)
    assert {one.what: one.touches for one in differences} == {
        "emotions that were offered": ("UAR", "excess gap", "excess pull gap"),
        "questions": ("UAR", "excess gap", "excess pull gap"),
        "strengths of steering": ("excess pull gap",),
    }
    assert str(differences[-1]) == (
        "excess pull gap: strengths of steering differ: alpha 0.5 (tiny-emogator-evaluation); alpha 1.5 (the <b>other</b>)"
    )


def test_the_page_loads_nothing_and_escapes_names(runs: tuple[Path, Path], tmp_path: Path) -> None:
    rows, differences = side_by_side(runs)
    write_compare_page(rows, differences, tmp_path / "page.html", "1")
    page = (tmp_path / "page.html").read_text()
    assert not re.findall(r'(?:src|href)="[^#]', page)
    assert "http" not in page
    assert "<b>" not in page
    assert page.count("<svg") == 6
    assert shown(rows)["excess gap"][0] in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


@pytest.mark.journey
def test_the_command_needs_no_torch(runs: tuple[Path, Path], tmp_path: Path) -> None:
    program = "import sys; from emoscope.cli import app; app(sys.argv[1:], result_action='return_value'); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", program, "compare", *map(str, runs), "--html", str(tmp_path / "page.html")],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "Not comparable: excess pull gap: strengths of steering differ" in done.stdout
    assert (tmp_path / "page.html").is_file()


def test_a_folder_that_is_no_finished_run_or_is_given_twice_is_refused(runs: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="not a finished run"):
        side_by_side([runs[0], tmp_path])
    with pytest.raises(ValueError, match="given twice"):
        side_by_side([runs[0], runs[0]])
