"""Activity of sets on the voice and on what takes its place, against a slow count over every neuron and item."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from emoscope.experiments.record import heard_scope, write_set_activity
from emoscope.neurons.activity import Activity, ActivityBlock
from emoscope.neurons.selection import COLUMNS, FoundSets
from emoscope.runs import RunFolder
from emoscope.schemas import schema
from tests.neurons.helpers import random_block

ITEMS, LAYERS, WIDTH = 40, 3, 6
EMOTIONS, SPEAKERS, FOLDS = ("anger", "fear"), ("s1", "s2", "s3", "s4"), ("one", "two")
HEADLINE = "mad", 0.05


def part(folder: Path, seed: int, words: bool) -> tuple[RunFolder, ActivityBlock, pl.DataFrame]:
    """A part with 40 clips, in an order of its own, and what was stored of them."""
    draw = np.random.default_rng(seed)
    run = RunFolder(folder, create=True)
    block = random_block(draw, ITEMS, LAYERS, WIDTH)
    if words:
        block.tokens[:, 0] = 0
        block.counts["audio"][:] = 0
    Activity.create(run / "activity.zarr", ITEMS, LAYERS, WIDTH, np.ones((LAYERS, WIDTH)), ITEMS).write(0, block)
    clips = draw.permutation(ITEMS)
    items = pl.DataFrame({
        "item": range(ITEMS), "clip": [f"c{n}" for n in clips], "fold": [FOLDS[n % 2] for n in clips],
        "truth": [EMOTIONS[n // 2 % 2] for n in clips], "speaker": [SPEAKERS[n % 4] for n in clips],
        "status": ["excluded" if n == 7 and words else "used" for n in clips],
    })  # fmt: skip
    run.write_table("items", items)
    return run, block, items


@pytest.fixture(scope="module")
def parts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("parts")
    found = {"audio": part(folder / "main", 1, False), "transcript": part(folder / "main.transcript", 2, True)}
    draw, rows, sets = np.random.default_rng(3), [], {}
    kinds = [
        ("mad", "target", None, None),
        ("mad:few", "fewer", 0, 5),
        ("mad:near", "matched", 0, None),
        ("mad:near2", "matched", 1, None),
    ]
    for name, control, number, size in kinds:
        for fold in (*FOLDS, "all"):
            for emotion in EMOTIONS:
                if (name, fold, emotion) == ("mad:near2", "two", "fear"):
                    continue  # a set that one fold lacks
                neurons = np.sort(draw.choice(LAYERS * WIDTH, 5, replace=False)).astype("int64")
                sets.setdefault((name, fold), {})[emotion] = neurons
                rows.append({"set": name, "selector": "mad", "budget": 0.05, "control": control, "draw": number,
                             "size": size, "fold": fold, "emotion": emotion})  # fmt: skip
    table = pl.DataFrame(rows, schema_overrides={"size": pl.Int64, "draw": pl.Int64})
    table = table.with_columns(*(pl.lit(None, dtype=COLUMNS[c]).alias(c) for c in COLUMNS if c not in table.columns))
    main = found["audio"][0]
    main.write_table("sets", table)
    FoundSets(table, sets, {}, LAYERS, WIDTH, np.zeros(LAYERS * WIDTH, "float32")).save_sets(main / "sets")
    return found, sets


def slowly(found, sets, presentation: str) -> dict[tuple, list[tuple[float, float]]]:
    """(control, emotion, truth, speaker) -> mean activation and firing of every draw on every item."""
    _, block, items = found[presentation]
    spans = ["audio", "text"] if presentation == "audio" else ["text"]
    result = defaultdict(list)
    for row in items.iter_rows(named=True):
        if row["clip"] == "c7":
            continue
        for (name, fold), of_emotion in sets.items():
            control = "matched" if "near" in name else "target" if name == "mad" else "fewer"
            for emotion, neurons in of_emotion.items():
                if fold != row["fold"] or control == "fewer":
                    continue
                if control == "matched" and emotion == "fear" and fold == "two":
                    continue  # one of the draws lacks it
                fired, total, positions = 0.0, 0.0, 0
                for span in spans:
                    column = ("audio", "text").index(span)
                    count = int(block.tokens[row["item"], column])
                    for neuron in neurons:
                        layer, index = divmod(int(neuron), WIDTH)
                        fired += float(block.counts[span][row["item"], layer, index])
                        total += float(block.means[span][row["item"], layer, index]) * count
                    positions += count
                key = control, emotion, row["truth"], row["speaker"]
                result[key].append((total / positions / len(neurons), fired / positions / len(neurons)))
    return result


@pytest.mark.parametrize("presentation", ["audio", "transcript"])
def test_it_is_what_a_slow_count_gives(parts, presentation):
    found, sets = parts
    table = write_set_activity(
        found["audio"][0],
        {"transcript": found["transcript"][0]},
        HEADLINE,
        "audio+text" if presentation == "audio" else "audio",
    )
    assert table.columns == list(schema("set_activity"))
    mine = table.filter(pl.col("presentation") == presentation)
    wanted = slowly(found, sets, presentation)
    assert mine.height == len(wanted) == len(mine.select("control", "emotion", "truth", "speaker").unique())
    for row in mine.iter_rows(named=True):
        values = wanted[row["control"], row["emotion"], row["truth"], row["speaker"]]
        assert row["items"] * (2 if row["control"] == "matched" else 1) == len(values)
        assert row["mean_activation"] == pytest.approx(np.mean([one for one, _ in values]), abs=1e-12)
        assert row["firing"] == pytest.approx(np.mean([two for _, two in values]), abs=1e-12)


def test_it_is_kept_in_the_main_part(parts):
    found, _ = parts
    table = write_set_activity(found["audio"][0], {}, HEADLINE, "audio")
    assert found["audio"][0].read_table("set_activity").equals(table)
    assert set(table["presentation"]) == {"audio"}


def test_nothing_is_measured_where_no_set_was_found(parts):
    found, _ = parts
    assert write_set_activity(found["audio"][0], {}, ("lap", 0.05), "audio").is_empty()


def test_text_counts_where_nothing_is_heard(parts):
    found, _ = parts
    heard, words = (Activity.open(found[one][0] / "activity.zarr") for one in ("audio", "transcript"))
    every = np.arange(ITEMS)
    for scope, of_words in (
        ("audio", "text"),
        ("audio+answer", "text+answer"),
        ("audio+text", "text"),
        ("answer", "answer"),
    ):
        assert heard_scope(heard, scope, every) == scope
        assert heard_scope(words, scope, every) == of_words
