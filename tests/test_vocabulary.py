"""What a condition is for: one rule, stored with it, and the same for runs that did not store it."""

from __future__ import annotations

import polars as pl

from emoscope.analysis.load import declared_headline, read_run
from emoscope.vocabulary import ROLES, role_of, with_roles
from tests.golden.outputs import unpack

HEADLINE = {"selector": "mad", "budget": 0.05, "alpha": 0.5}
USUAL = HEADLINE | {"kind": "steer", "control": "target", "positions": "all", "layers": "all", "source": None}
OFF = USUAL | {"kind": "deactivate", "alpha": None, "to": "zero"}


def test_every_role_has_its_case():
    cases = {
        "reference": {"kind": "null"}, "reliance": {"kind": "reliance"}, "agnostic": USUAL | {"kind": "union"},
        "transferred": OFF | {"source": "polish"}, "few clips": OFF | {"control": "fewer"},
        "outcome": OFF | {"control": "hits-as-misses"}, "other selector": OFF | {"selector": "cas"},
        "budget": OFF | {"budget": 0.1}, "layers": OFF | {"layers": "0-3 reselected"}, "single layer": OFF | {"layers": "3"},
        "position": OFF | {"positions": "audio"}, "to mean": OFF | {"to": "mean"}, "dose": USUAL | {"alpha": 1.0},
        "headline": OFF,
    }  # fmt: skip
    assert tuple(cases) == ROLES
    for role, row in cases.items():
        assert role_of(row, HEADLINE) == role
    assert role_of(OFF | {"control": "matched"}, HEADLINE) == "headline"
    assert role_of(USUAL, HEADLINE) == "headline"


def test_roles_of_an_older_run_are_worked_out_and_agree_with_what_the_study_declared(tmp_path):
    run = read_run(unpack("demo", tmp_path))
    roles = run.conditions["role"]
    assert roles.null_count() == 0
    declared = run.conditions.filter("headline")
    assert declared.height > 0
    assert set(declared["role"]) == {"headline"}
    head = declared_headline(run.manifest, run.conditions)
    assert with_roles(run.conditions.drop("role"), head)["role"].equals(roles)
    marked = run.conditions.filter((pl.col("role") == "headline") & (pl.col("control") == "target"))
    assert set(marked["condition"]) == set(declared["condition"])
