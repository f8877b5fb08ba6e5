"""docs/models.md is about the families of the registry, and its table says what the tests said."""

from __future__ import annotations

import json

import pytest

from emoscope.commands import model_list
from emoscope.models.families import STATUS, built_in
from tests.models.table import COLUMNS, PAGE, Collector, families, named


def test_the_page_names_exactly_the_families_of_the_registry():
    assert named(PAGE.read_text(encoding="utf-8")) == set(built_in()), "run python -m tests.models.table"


def test_the_page_says_what_was_shown_and_what_was_not():
    page = PAGE.read_text(encoding="utf-8")
    assert STATUS in page
    rows = [line.split("|")[1:-1] for line in page.splitlines() if line.startswith("| ")]
    assert [cell.strip() for cell in rows[0]] == ["family", *COLUMNS, "largest difference"]
    assert {row[0].strip() for row in rows[2:]} == {cls.model_type for cls in families()}
    assert not [row for row in rows if "failed" in "".join(row)]


def test_every_family_has_a_name_on_the_hub_and_a_known_exposure():
    for cls in families():
        assert all(name.count("/") == 1 for name in cls.released)
        assert all(answer in ("yes", "no", "unknown") and source for answer, source in cls.exposure.values())


def test_the_families_are_listed(capsys):
    assert model_list() == 0
    shown = capsys.readouterr().out
    assert {line.split()[0] for line in shown.splitlines()[:-2]} == set(built_in())
    assert "nvidia/audio-flamingo-3-hf" in shown
    assert STATUS in shown
    assert "docs/add-a-model.md" in shown


def report(test: str, outcome: str, when: str = "call") -> pytest.TestReport:
    reason = ("file", 1, "Skipped: no such package") if outcome == "skipped" else None
    return pytest.TestReport(f"test_x.py::TestX::{test}", ("test_x.py", 1, test), {}, outcome, reason, when)


def test_a_cell_is_passed_only_if_all_of_its_tests_are(tmp_path):
    measured = tmp_path / "measured.jsonl"
    row = {"family": "x", "largest difference": 2e-6, "batch equals single": 1e-6, "site exact": 0.0}
    measured.write_text(json.dumps(row) + "\n", encoding="utf-8")
    collector = Collector(measured)
    failed, skipped, absent = COLUMNS["batch = single"][-1], COLUMNS["offline round trip"][0], COLUMNS["cached = full"]
    for tests in COLUMNS.values():
        for test in tests:
            if test not in (failed, skipped, *absent):
                collector.pytest_runtest_logreport(report(test, "passed"))
    collector.pytest_runtest_logreport(report(failed, "failed"))
    collector.pytest_runtest_logreport(report(skipped, "skipped", "setup"))
    broken = COLUMNS["official layout loads"][0]
    collector.pytest_runtest_logreport(report(broken, "failed", "teardown"))
    cells = collector.rows()["x"]
    assert cells["batch = single"] == "failed"
    assert cells["official layout loads"] == "failed"
    assert cells["offline round trip"] == cells["cached = full"] == "not run"
    assert cells["site exact"] == "passed"
    assert cells["largest difference"] == "2.0e-06"
    assert list(collector.skipped.values()) == ["no such package"]
