"""The activity store: round trip, killed runs, same bytes, labelled view."""

from __future__ import annotations

import hashlib
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import xarray
import zarr

from emoscope.neurons.activity import SCOPES, Activity, arrays_of, scope_parts

from .helpers import both, random_activity, random_block


def fingerprint(folder: Path) -> dict[str, str]:
    files = sorted(p for p in folder.rglob("*") if p.is_file())
    return {str(p.relative_to(folder)): hashlib.sha256(p.read_bytes()).hexdigest() for p in files}


def test_round_trip_gives_back_every_count_mean_value_and_token(tmp_path):
    activity, blocks = random_activity(tmp_path / "a.zarr")
    tokens = np.concatenate([b.tokens for b in blocks])
    for layer in range(3):
        fired, summed = both(activity, layer, "audio+answer")
        counts = np.concatenate([b.counts["audio"][:, layer] for b in blocks]).astype(float)
        answers = np.concatenate([b.values["answer"][:, layer] for b in blocks]).astype(float)
        means = np.concatenate([b.means["audio"][:, layer] for b in blocks]).astype(float)
        np.testing.assert_array_equal(fired, counts + (answers > 0))
        np.testing.assert_array_equal(summed, means * tokens[:, :1] + answers)
    np.testing.assert_array_equal(activity.tokens("audio+answer"), tokens[:, 0] + tokens[:, 3])


def test_rows_come_in_the_order_asked(tmp_path):
    activity, _ = random_activity(tmp_path / "a.zarr")
    rows = np.array([35, 2, 17])
    for whole, part in zip(both(activity, 1, "all"), both(activity, 1, "all", rows), strict=True):
        np.testing.assert_array_equal(part, whole[rows])
    np.testing.assert_array_equal(activity.tokens("text", rows), activity.tokens("text")[rows])


def test_an_answer_that_was_not_fed_counts_nothing(tmp_path):
    activity, blocks = random_activity(tmp_path / "a.zarr", items=4)
    blocks[0].tokens[2, 3] = 0
    activity.write(0, blocks[0])
    fired, summed = both(activity, 0, "answer")
    assert not fired[2].any()
    assert not summed[2].any()
    assert summed[1].any()


def test_a_value_fires_above_zero_only(tmp_path):
    activity, (block,) = random_activity(tmp_path / "a.zarr", items=1, layers=1, width=5)
    block.values["decision"][0, 0] = [0.0, -0.0, 6e-8, -6e-8, 2.0]
    activity.write(0, block)
    np.testing.assert_array_equal(activity.read_counts(0, "decision"), [[0, 0, 1, 0, 1]])


def test_means_over_blocks_weigh_every_position_equally(tmp_path):
    activity, (first, second) = random_activity(tmp_path / "a.zarr")
    positions = first.positions + second.positions
    np.testing.assert_allclose(activity.mean_product(), (first.product_sum + second.product_sum) / positions, rtol=1e-5)


def test_means_of_items_are_those_of_their_blocks(tmp_path):
    activity, blocks = random_activity(tmp_path / "a.zarr", items=100)
    first, third = blocks[0], blocks[2]
    positions = first.positions + third.positions
    items = np.array([70, 3, 95])
    np.testing.assert_allclose(
        activity.mean_product(items), (first.product_sum + third.product_sum) / positions, rtol=1e-5
    )
    np.testing.assert_array_equal(activity.mean_product(np.arange(100)), activity.mean_product())
    with pytest.raises(ValueError, match="no written block of these items"):
        activity.mean_product(np.array([], int))


def test_magnitudes_are_those_of_an_items_values_and_means(tmp_path):
    activity, (block, _) = random_activity(tmp_path / "a.zarr", store=("audio", "text", "answer"))
    for item in (3, 20):
        tokens = block.tokens[item]
        expected = tokens[0] * abs(block.means["audio"][item, 1].astype(float)) + abs(
            block.values["answer"][item, 1].astype(float)
        )
        np.testing.assert_allclose(activity.read_magnitudes(1, "audio+answer", np.array([item]))[0], expected)


def test_blocks_written_in_any_order_and_twice_leave_the_same_bytes(tmp_path):
    once, blocks = random_activity(tmp_path / "once.zarr", items=80)
    other = Activity.create(tmp_path / "other.zarr", 80, 3, 5, once.down_norm, 32)
    # a killed run: block 2 first, of block 1 one part, block 0 with wrong content, then all again
    other.write(64, blocks[2])
    zarr.open_group(other.path)["mean"][1, 32:64] = blocks[1].means["text"].reshape(32, -1)
    other.write(0, random_block(np.random.default_rng(9), 32, 3, 5))
    other = Activity.open(tmp_path / "other.zarr")
    for number in (1, 0, 2):
        other.write(32 * number, blocks[number])
    assert fingerprint(once.path) == fingerprint(other.path)


def test_parts_of_a_block_share_a_file(tmp_path):
    activity, _ = random_activity(tmp_path / "a.zarr", items=80)
    chunks = [path.relative_to(activity.path) for path in activity.path.rglob("c/**/*") if path.is_file()]
    files = Counter(path.parts[0] for path in chunks if path.parts[0] not in ("layer", "index", "down_norm"))
    assert files == dict.fromkeys(("count", "mean", "value", "sum", "tokens", "positions"), 3)
    rows = ("count", "mean", "value", "sum")  # c/<part>/<block>/<neuron>: the file of part 0 holds all parts
    assert {path.parts[2] for path in chunks if path.parts[0] in rows} == {"0"}
    # a block that is written again touches no file of another
    before = {path: path.stat().st_mtime_ns for path in activity.path.rglob("*") if path.is_file()}
    activity.write(32, random_block(np.random.default_rng(9), 32, 3, 5))
    changed = {path for path, time in before.items() if path.stat().st_mtime_ns != time}
    places = [path.relative_to(activity.path).parts for path in changed]
    assert {place[3 if place[0] in rows else 2] for place in places} == {"1"}
    assert len(changed) == 6


def store_as_before(new, path, chunks, shards=None):
    """An empty store of version 1: each scope has arrays of its own, of (item, neuron)."""
    there = zarr.open_group(new.path, mode="r")
    old = zarr.open_group(path, mode="w", attributes={**there.attrs.asdict(), "version": 1})
    for name, parts in arrays_of(new.store).items():
        like = there[name]
        of = (like.shape[1], new.neurons)
        how = {"chunks": (1, new.width)} if name == "sum" else {"chunks": chunks, "shards": shards}
        for part in parts:
            old.create_array(
                f"{part}_{name}", shape=of, dtype=like.dtype, dimension_names=like.metadata.dimension_names[1:], **how
            )
    for name in ("tokens", "positions", "layer", "index", "down_norm"):
        like = there[name]
        names = like.metadata.dimension_names
        made = old.create_array(
            name,
            shape=like.shape,
            chunks=like.chunks,
            dtype=like.dtype,
            fill_value=like.fill_value,
            dimension_names=names,
        )
        if len(names) == 1 and names[0] == "neuron":
            made[:] = like[:]
    return Activity.create(path, new.items, new.layers, new.width, new.down_norm, new.block_items, store=new.store)


@pytest.mark.parametrize("files", [{"chunks": (64, 5), "shards": (64, 15)}, {"chunks": (32, 5)}], ids=str)
def test_a_store_of_an_earlier_version_is_read_and_written(tmp_path, files):
    new, blocks = random_activity(tmp_path / "new.zarr", items=160, block_items=64)
    old = store_as_before(new, tmp_path / "old.zarr", **files)
    for number, block in enumerate(blocks):
        old.write(64 * number, block)
    old = Activity.open(old.path)
    assert (old.path / "audio_count").is_dir()
    for layer in range(3):
        for one, other in zip(both(new, layer, "all"), both(old, layer, "all"), strict=True):
            np.testing.assert_array_equal(one, other)
        np.testing.assert_array_equal(new.read_magnitudes(layer, "all"), old.read_magnitudes(layer, "all"))
    np.testing.assert_array_equal(new.mean_product(), old.mean_product())
    xarray.testing.assert_identical(new.to_xarray().load(), old.to_xarray().load().assign_attrs(version=2))


def test_a_partly_written_store_is_readable_and_says_what_is_missing(tmp_path):
    rng = np.random.default_rng(0)
    activity = Activity.create(tmp_path / "a.zarr", 80, 2, 4, np.ones((2, 4)), 32)
    block = random_block(rng, 32, 2, 4)
    activity.write(32, block)
    again = Activity.create(tmp_path / "a.zarr", 80, 2, 4, np.ones((2, 4)), 32)
    assert again.written.sum() == 32
    np.testing.assert_array_equal(again.read_counts(1, "audio", np.arange(32, 64)), block.counts["audio"][:, 1])
    with pytest.raises(ValueError, match="first: item 3"):
        again.tokens("audio", np.array([40, 3]))


def test_only_the_scopes_kept_are_stored(tmp_path):
    activity, _ = random_activity(tmp_path / "a.zarr", store=("answer", "audio"))
    assert activity.store == ("audio", "answer")
    assert [activity.to_xarray().sizes.get(name) for name in ("item", "neuron")] == [40, 15]
    assert {"audio_count", "answer_value"} <= set(activity.to_xarray())
    assert "text_count" not in activity.to_xarray()
    assert not (activity.path / "value" / "c" / "1").exists()
    for scope in ("text", "all"):
        with pytest.raises(ValueError, match="keeps audio, answer"):
            activity.read_counts(0, scope)


def test_labelled_view_is_lazy_and_knows_layers_and_scopes(tmp_path):
    activity, blocks = random_activity(tmp_path / "a.zarr")
    data = activity.to_xarray()
    assert not data["audio_count"].variable._in_memory
    assert data["audio_count"].dims == ("item", "neuron")
    layer = data["audio_mean"].isel(item=slice(0, 32)).sel(neuron=data.layer == 1)
    np.testing.assert_array_equal(layer, blocks[0].means["audio"][:, 1])
    assert list(data.scope.values) == list(SCOPES)
    np.testing.assert_array_equal(data["index"].values[5:10], np.arange(5))


def test_it_prints_what_it_is(tmp_path):
    activity, blocks = random_activity(tmp_path / "a.zarr")
    assert (
        repr(activity)
        == "Activity(40 of 40 items written, 3 layers x 5 neurons, site gate, scopes audio, text, decision, answer)"
    )
    assert "<td>3 layers x 5</td>" in activity._repr_html_()
    assert repr(blocks[0]).startswith("ActivityBlock(32 items, 3 layers x 5 neurons")


def test_mistakes_name_the_value_and_the_way_out(tmp_path):
    with pytest.raises(FileNotFoundError, match="listen first"):
        Activity.open(tmp_path / "none.zarr")
    with pytest.raises(ValueError, match="in blocks of 0 x 2 layers x 4 neurons: each must be at least 1"):
        Activity.create(tmp_path / "a.zarr", 80, 2, 4, np.ones((2, 4)), 0)
    with pytest.raises(ValueError, match=r"expected \(2, 4\)"):
        Activity.create(tmp_path / "a.zarr", 80, 2, 4, np.ones(8), 32)
    activity, blocks = random_activity(tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="multiples of 32"):
        activity.write(8, blocks[0])
    with pytest.raises(ValueError, match="expected"):
        activity.write(32, blocks[0])
    with pytest.raises(ValueError, match=r"'items': \(40, 41\)"):
        Activity.create(activity.path, 41, 3, 5, activity.down_norm, 32)
    with pytest.raises(ValueError, match="'voice' is not known"):
        scope_parts("voice")
