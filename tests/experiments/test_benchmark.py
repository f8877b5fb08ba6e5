"""The benchmark of selectors: what is scored, what is left out, and what is not done again."""

import json

import numpy as np
import polars as pl
import pytest

from emoscope import __version__
from emoscope.experiments.benchmark import (
    _log_odds,
    average_precision,
    failures,
    in_training,
    run_benchmark,
    score,
    summary,
)
from emoscope.runs.folder import digest


def write_seed(folder, seed, failed=(), selectors=("mad",)):
    """Ten neurons a layer, of which three were written: the selector takes the silent one first."""
    place = folder / f"seed-{seed:03}"
    place.mkdir(parents=True)
    key = [(8, "hearing", "anger", "causal"), (9, "silent", "anger", "not causal"), (7, "hearing", "fear", "causal")]
    columns = ["neuron", "kind", "emotion", "counts"]
    pl.DataFrame(key, schema=columns, orient="row").write_parquet(place / "key.parquet")
    scores = {9: 3.0, 8: 2.0, 7: 1.0}
    rows = [
        {"neuron": neuron, "score": value, "rank": rank, "selector": "mad", "scope": "all", "emotion": "anger"}
        for rank, (neuron, value) in enumerate(scores.items())
    ]
    pl.DataFrame(rows).write_parquet(place / "ranks.parquet")
    asked = digest([__version__, selectors, {}])
    card = {"asked": asked, "failed": list(failed), "clips": 5, "width": 10, "layers": 2, "two_hop": "fear"}
    (place / "card.json").write_text(json.dumps(card | {"recalls": {"whole": 0.7}}))
    return place


def test_a_cause_behind_a_neuron_that_writes_nothing_has_half_the_precision(tmp_path):
    scores, chosen = score(write_seed(tmp_path, 0), 0)
    (row,) = scores.to_dicts()
    assert row["average_precision"] == 0.5
    assert row["chance"] == pytest.approx(1 / 3)
    assert (row["precision"], row["causal"], row["layer_chance"]) == (0.0, 1, 0.5)
    taken = {row["kind"]: row["chosen"] for row in chosen.filter("own").to_dicts()}
    assert taken == {"silent": 1, "hearing": 0}


def test_models_that_do_not_hold_are_counted_and_left_out(tmp_path):
    write_seed(tmp_path, 0, failed=["off"])
    write_seed(tmp_path, 1)
    scores, _ = run_benchmark(tmp_path, [0, 1], ["mad"])
    assert scores["seed"].to_list() == [1]
    assert [seed for seed, _ in failures(tmp_path, [0, 1])] == [0]
    assert summary(scores)["models"].to_list() == [1]


def test_what_was_done_is_not_done_again(tmp_path):
    place = write_seed(tmp_path, 0)
    before = (place / "card.json").stat().st_mtime_ns
    run_benchmark(tmp_path, [0], ["mad"])
    assert (place / "card.json").stat().st_mtime_ns == before
    assert {path.name for path in tmp_path.iterdir()} >= {"scores.parquet", "scores.csv", "chosen.parquet"}


def test_a_selector_that_is_not_known_is_refused_before_anything_is_written(tmp_path):
    with pytest.raises(ValueError, match="no-such"):
        run_benchmark(tmp_path / "out", [0], ["no-such"])
    assert not (tmp_path / "out").exists()


def test_all_models_lost_leave_empty_tables(tmp_path):
    write_seed(tmp_path, 0, failed=["hears"])
    scores, chosen = run_benchmark(tmp_path, [0], ["mad"])
    assert scores.is_empty()
    assert chosen.is_empty()


def test_equal_scores_are_taken_together_whatever_their_order():
    wanted = np.array([True, False, False, True])
    scores = np.array([1.0, 1.0, 0.0, -np.inf])
    assert average_precision(scores, wanted) == average_precision(scores[[1, 0, 2, 3]], wanted[[1, 0, 2, 3]])


def test_each_speaker_gives_the_same_share_of_each_emotion_to_training():
    class Some:
        speakers = np.repeat(["a", "b"], 20)
        truth = np.tile(np.repeat([0, 1], 10), 2)
        emotions = ("anger", "fear")

    chosen = in_training(Some, seed=3)
    assert [chosen[part].sum() for part in np.split(np.arange(40), 4)] == [6, 6, 6, 6]
    assert (chosen != in_training(Some, seed=4)).any()


def test_log_odds_are_among_the_options_and_bounded():
    logp = np.log([[0.2, 0.2], [0.3, 0.0001]])
    np.testing.assert_allclose(_log_odds(logp), [[0, 0], [5, -5]], atol=1e-9)
