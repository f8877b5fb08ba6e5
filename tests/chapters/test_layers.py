"""How unevenly sets lie over the layers, worked out by hand."""

import math

import polars as pl
import pytest
from scipy import stats

from emoscope.analysis.load import Run
from emoscope.chapters.layers import clustering
from emoscope.neurons.sets import NeuronSet, NeuronSets, safe_name
from emoscope.schemas import conform

# neurons 0-3 are layer 0, 4-7 layer 1; every set has four
WHERE = {"even": [0, 1, 4, 5], "tilted": [0, 1, 2, 4], "crowded": [0, 1, 2, 3]}  # 0, 25 and 50 % would have to move


def run(folder, own, shuffled):
    """``own``: fold to where its set lies; ``shuffled``: where the set of each draw lies."""
    rows = []
    sets = [("own", "target", 0, own)] + [(f"own~{d}", "shuffled", d, {"all": w}) for d, w in enumerate(shuffled)]
    for name, control, draw, places in sets:
        folds = {fold: {"fear": NeuronSet("fear", WHERE[where], 2, 4)} for fold, where in places.items()}
        NeuronSets(folds.pop("all"), folds).save(folder / "sets" / safe_name(name))
        for fold in places:
            about = {"set": name, "selector": "cas", "budget": 0.5, "scope": "all", "control": control, "draw": draw}
            rows.append(about | {"fold": fold, "emotion": "fear"})
    items = [{"item": n, "fold": f"s{n % 5}", "status": "used"} for n in range(10)]
    manifest = {"model": {"layers": 2, "width": 4}}
    empty = pl.DataFrame()
    return Run(
        folder, conform(pl.DataFrame(items), "items"), conform(pl.DataFrame(rows), "sets"), empty, empty, manifest
    )


def test_by_hand(tmp_path):
    """Without s0: 0 %; without the other four: 25 %. Mean 20, squares 400 + 4 * 25 = 500, error sqrt(4/5 * 500) = 20."""
    own = {"all": "tilted", "s0": "even", "s1": "tilted", "s2": "tilted", "s3": "tilted", "s4": "tilted"}
    frame, notes = clustering(run(tmp_path, own, ["even", "tilted", "crowded"]))
    (row,) = frame.to_dicts()
    assert notes == ()
    assert (row["estimate"], row["folds"], row["df"], row["draws"]) == (25.0, 5, 4.0, 3)
    assert (row["shuffled"], row["shuffled_min"], row["shuffled_max"]) == (25.0, 0.0, 50.0)
    assert row["high"] - 25 == pytest.approx(20 * stats.t.ppf(0.975, 4))
    assert math.isclose(25 - row["low"], row["high"] - 25)


@pytest.mark.parametrize(("folds", "reason"), [(1, "found once"), (4, "only 4 folds of speakers")])
def test_few_folds_give_no_interval(tmp_path, folds, reason):
    own = {"all": "crowded"} | {f"s{n}": "tilted" for n in range(folds)}
    (row,) = clustering(run(tmp_path, own, ["even"]))[0].to_dicts()
    assert (row["estimate"], row["low"]) == (50.0, None)
    assert reason in row["reason"]


def test_without_shuffled_labels_there_is_no_row(tmp_path):
    frame, notes = clustering(run(tmp_path, {"all": "even"}, []))
    assert frame.is_empty()
    assert notes == ()
