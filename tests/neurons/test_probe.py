"""The probe reads what is there on other speakers, nothing where nothing is, and solves the equations that it should."""

import numpy as np
import polars as pl
import pytest

from emoscope.neurons.activity import Activity, ActivityBlock
from emoscope.neurons.probe import PENALTIES, read_labels, ridge

LABELS = ("anger", "fear", "neutral")


def stored(folder, means: np.ndarray) -> Activity:
    """A store of one scope in which items have these means, (item, layer, width), over four positions each."""
    items, layers, width = means.shape
    made = Activity.create(folder, items, layers, width, np.ones((layers, width)), items, store=("audio",))
    tokens = np.zeros((items, 4), "int32")
    tokens[:, 0] = 4
    nothing = np.zeros((layers, width), "float32")
    counts = {"audio": (means > 0).astype("uint16")}
    made.write(0, ActivityBlock(counts, {"audio": means.astype("float16")}, {}, tokens, nothing, nothing, 4))
    return made


def table(speakers: int = 6, each: int = 4) -> pl.DataFrame:
    rows = [(s, label) for s in range(speakers) for label in LABELS for _ in range(each)]
    frame = pl.DataFrame({"speaker": [f"s{s}" for s, _ in rows], "truth": [label for _, label in rows]})
    return frame.with_row_index("item").with_columns(pl.col("item").cast(pl.Int64), fold="speaker", side=pl.lit("both"))


def share(items: pl.DataFrame) -> float:
    return float((items["read"] == items["truth"]).mean())


def test_what_is_there_is_read_on_other_speakers_and_what_is_not_there_is_not(tmp_path):
    items, rng = table(), np.random.default_rng(0)
    means = (
        rng.normal(0, 1, (len(items), 2, 40)) + 50 * rng.normal(0, 1, (6, 2, 40))[items["speaker"].rank("dense") - 1]
    )
    codes = np.array([LABELS.index(label) for label in items["truth"]])
    nothing = stored(tmp_path / "nothing", means)
    means[np.arange(len(items))[:, None], 1, 10 * codes[:, None] + np.arange(10)] += 4
    assert share(read_labels(stored(tmp_path / "there", means), items, "audio")) > 0.9
    assert share(read_labels(nothing, items, "audio")) < 0.55


def test_an_item_is_read_without_its_own_fold(tmp_path):
    # one of two speakers has the labels turned round: his items are read as the other has them
    items, rng = table(speakers=2), np.random.default_rng(1)
    codes = np.array([LABELS.index(label) for label in items["truth"]])
    turned = (items["speaker"] == "s0").to_numpy()
    codes[turned] = (codes[turned] + 1) % 3
    means = rng.normal(0, 0.3, (len(items), 1, 3))
    means[np.arange(len(items)), 0, codes] += 4
    read = read_labels(stored(tmp_path / "a", means), items, "audio")
    assert read["read"].to_numpy()[turned].tolist() == [LABELS[code] for code in codes[turned]]


def test_fixed_sides_are_read_by_the_side_that_identifies(tmp_path):
    items = table().with_columns(
        side=pl.when(pl.col("speaker") < "s3").then(pl.lit("identify")).otherwise(pl.lit("evaluate"))
    )
    items = items.with_columns(fold="side")
    means = np.random.default_rng(2).normal(0, 0.3, (len(items), 1, 20))
    means[np.arange(len(items)), 0, [LABELS.index(label) for label in items["truth"]]] += 4
    read = read_labels(stored(tmp_path / "a", means), items, "audio")
    assert set(read["side"]) == {"evaluate"}
    assert share(read) == 1


@pytest.mark.peer
def test_the_dual_form_is_ridge_regression_with_the_penalty_of_the_smallest_error_left_out():
    from sklearn.linear_model import Ridge

    rng = np.random.default_rng(3)
    x, other = rng.normal(0, 1, (30, 12)), rng.normal(0, 1, (50, 12))
    labels = np.array(["a"] * 12 + ["b"] * 10 + ["c"] * 8)
    x[:12, 0] += 1
    x[22:, 1] += 1
    codes = np.unique(labels, return_inverse=True)[1]
    wanted = np.eye(3)[codes] / np.bincount(codes)
    kernel = (x - x.mean(axis=0)) @ (x - x.mean(axis=0)).T
    errors = {}
    for penalty in PENALTIES * np.linalg.eigvalsh(kernel).clip(0).mean():
        # left out of centred data, as the closed form has it
        errors[penalty] = 0.0
        for out in range(30):
            rest = np.arange(30) != out
            weight = np.where(rest, 1.0, 1e-12)
            fitted = Ridge(alpha=penalty).fit(x, wanted, sample_weight=weight)
            errors[penalty] += float(((fitted.predict(x[[out]]) - wanted[out]) ** 2).sum())
    best = min(errors, key=errors.__getitem__)
    expected = Ridge(alpha=best).fit(x, wanted).predict(other).argmax(axis=1)
    assert ridge(x @ x.T, labels, other @ x.T).tolist() == [("a", "b", "c")[code] for code in expected]
