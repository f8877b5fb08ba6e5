"""Agreement of folds and quality of matching, on sets of two or three neurons."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emoscope.analysis.load import Run
from emoscope.chapters.sets import jaccard, matching, stability
from emoscope.neurons.sets import NeuronSet, NeuronSets, safe_name
from emoscope.neurons.sources import expected_jaccard
from emoscope.schemas import conform, empty

WIDTH = 8
FOLDS = {"s0": [1, 2, 3], "s1": [2, 3, 4], "s2": [1, 2, 3], "all": [1, 2, 9]}


def write_sets(folder: Path, stored=True) -> Run:
    rows = []
    folds = {fold: {"anger": NeuronSet("anger", neurons, 2, WIDTH)} for fold, neurons in FOLDS.items()}
    if stored:
        NeuronSets(folds.pop("all"), folds).save(folder / "sets" / safe_name("cas@0.2:all"))
    for fold in FOLDS:
        about = {"set": "cas@0.2:all", "selector": "cas", "budget": 0.2, "scope": "all", "control": "target"}
        rows.append(about | {"draw": 0, "fold": fold, "emotion": "anger", "n": 7})
    for draw, fold, frequency, well in [(0, "s0", 0.2, True), (1, "s0", -0.4, False), (0, "all", 9.0, False)]:
        about = {"set": f"m{draw}", "selector": "cas", "budget": 0.2, "scope": "all", "control": "matched"}
        values = {"smd_frequency": frequency, "smd_magnitude": 0.1, "smd_down_norm": -0.1, "well_matched": well}
        rows.append(about | {"draw": draw, "fold": fold, "emotion": "anger", "n": 7} | values)
    sets = conform(pl.DataFrame(rows, infer_schema_length=None), "sets")
    return Run(
        folder, empty("items"), sets, empty("conditions"), empty("answers"), {"model": {"layers": 2, "width": WIDTH}}
    )


def test_jaccard_by_hand():
    # {1 2 3} and {2 3 4} share two of four neurons, {1 2 3} and {1 2 3} all, {2 3 4} and {1 2 3} two of four
    assert jaccard([np.array(FOLDS[fold]) for fold in ("s0", "s1", "s2")]).tolist() == [0.5, 1, 0.5]


def test_stability_by_hand(tmp_path):
    found, notes = stability(write_sets(tmp_path))
    row = found.row(0, named=True)
    assert notes == ()
    # the set found on every speaker ("all") is no fold
    assert (row["folds"], row["n"]) == (3, 7)
    assert (row["jaccard"], row["jaccard_min"], row["jaccard_max"]) == (pytest.approx(2 / 3), 0.5, 1)
    # three of sixteen neurons: shared 1, 2, 3 with probabilities 3 * 78, 3 * 13, 1 of 560; Jaccard 1/5, 2/4, 1
    assert row["chance"] == pytest.approx((234 * 1 / 5 + 39 * 1 / 2 + 1) / 560)


def test_chance_equals_drawing_sets():
    rng = np.random.default_rng(0)
    drawn = [jaccard([rng.choice(20, 6, replace=False) for _ in range(2)])[0] for _ in range(4000)]
    assert expected_jaccard(6, 6, 20) == pytest.approx(np.mean(drawn), abs=0.01)
    assert expected_jaccard(3, 3, 3) == pytest.approx(1)
    assert expected_jaccard(0, 0, 9) == 0


def test_sets_that_are_not_stored_are_named(tmp_path):
    found, notes = stability(write_sets(tmp_path, stored=False))
    assert found.is_empty()
    assert notes == ("stability: no neurons stored for a target set of cas",)


def test_matching_by_hand(tmp_path):
    found = {row["covariate"]: row for row in matching(write_sets(tmp_path)).iter_rows(named=True)}
    assert set(found) == {"frequency", "magnitude", "down_norm"}
    # absolute values of the two draws that act: 0.2 and 0.4; one of them is well matched
    row = found["frequency"]
    assert (row["smd_mean"], row["smd_largest"]) == (pytest.approx(0.3), 0.4)
    assert {row["share_well_matched"] for row in found.values()} == {50}
    assert found["down_norm"]["smd_mean"] == pytest.approx(0.1)
