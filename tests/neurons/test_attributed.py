"""What attribution left on disk, and what selectors read from it, against slow sums over single items."""

import numpy as np
import pytest

from emoscope.neurons.activity import Activity
from emoscope.neurons.attributed import FOLDER, Attributed, packed, save, unit_of
from emoscope.neurons.owed import Owed, partners
from emoscope.neurons.samples import Selection

EMOTIONS, LAYERS, WIDTH = ("anger", "fear", "joy"), 2, 5
OPTIONS = ("joy", "anger", "neutral", "fear")  # in another order, and one without a set
STORED = (7, 2, 9, 4, 11, 0, 5)


@pytest.fixture(scope="module")
def values():
    rng = np.random.default_rng(0)
    shapes = {"attributed": (4, 7, LAYERS, WIDTH), "gradient": (4, 7, LAYERS, WIDTH), "product": (7, LAYERS, WIDTH)}
    # as small as gradients of large models: float16 alone would lose them
    return {kind: rng.standard_normal(shape).astype("float32") * 1e-9 for kind, shape in shapes.items()}


@pytest.fixture(scope="module")
def store(tmp_path_factory, values):
    """An activity store with attribution beside it, in two files."""
    folder = tmp_path_factory.mktemp("run")
    activity = Activity.create(folder / "activity.zarr", 12, LAYERS, WIDTH, np.ones((LAYERS, WIDTH)), 4)
    (folder / FOLDER).mkdir()
    for start, stop in ((0, 4), (4, 7)):
        part = {
            kind: (array[start:stop] if kind == "product" else array[:, start:stop]) for kind, array in values.items()
        }
        save(folder / FOLDER / f"{start}.safetensors", STORED[start:stop], OPTIONS, f"unit {start}", "audio", part)
    return activity


@pytest.fixture(scope="module")
def selections():
    speakers = np.array([0, 0, 1, 1, 1, -1, 0])
    labels = np.array([0, 1, 2, 0, 1, 2, 1])
    return [
        Selection("all", np.array(STORED), labels, EMOTIONS, speakers),
        Selection("fewer", np.array(STORED[1:6]), labels[1:6][::-1].copy(), EMOTIONS, speakers[1:6]),
    ]


def test_values_come_back_by_layer_option_and_item(store, values):
    read = store.attributed
    assert read.options == OPTIONS
    assert read.scope == "audio"
    items = np.array([11, 2, 7])
    rows = [STORED.index(item) for item in items]
    for layer in range(LAYERS):
        for kind in ("attributed", "gradient"):
            wanted = values[kind][1, rows, layer]
            assert np.allclose(
                read.read(kind, layer, items, "anger"), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max()
            )
        wanted = values["product"][rows, layer]
        assert np.allclose(read.read("product", layer, items), wanted, rtol=1e-3, atol=1e-3 * np.abs(wanted).max())
    with pytest.raises(ValueError, match="item 3 was not attributed"):
        read.read("product", 0, np.array([3]))
    with pytest.raises(ValueError, match="option 'disgust' was not attributed"):
        read.read("gradient", 0, items, "disgust")


def test_half_a_file_is_nobodys_unit(store, tmp_path):
    whole = store.path.parent / FOLDER / "0.safetensors"
    assert unit_of(whole) == "unit 0"
    (tmp_path / "half.safetensors").write_bytes(whole.read_bytes()[:100])
    assert unit_of(tmp_path / "half.safetensors") is None
    assert unit_of(tmp_path / "none.safetensors") is None
    assert Attributed.open(tmp_path / "nothing") is None


def test_what_is_packed_is_close_relative_to_its_largest_value():
    values = np.random.default_rng(1).standard_normal((3, 4, 100)) * 10.0 ** np.array([-30.0, 0.0, 30.0])[:, None, None]
    small, scale = packed(values)
    assert small.dtype == np.float16
    assert np.abs(small * scale[..., None].astype("float64") - values).max(axis=-1) == pytest.approx(0, abs=1e28)
    assert (
        np.abs(
            small * scale[..., None].astype("float64") / np.abs(values).max(-1)[..., None]
            - values / np.abs(values).max(-1)[..., None]
        )
        < 5e-4
    ).all()


def test_means_are_those_of_single_items(store, selections, values):
    owed = Owed(store, selections, ["audio", "answer"])
    for layer in range(LAYERS):
        found = {
            name: getattr(owed, name)(layer) for name in ("attributed", "attributed_elsewhere", "attributed_between")
        }
        for number, given in enumerate(selections):
            rows = [STORED.index(item) for item in given.items]
            for label, emotion in enumerate(EMOTIONS):
                option = OPTIONS.index(emotion)
                of = {n: [row for row, other in zip(rows, given.labels, strict=True) if other == n] for n in range(3)}
                means = {n: np.mean([values["attributed"][option, row, layer] for row in of[n]], axis=0) for n in of}
                close = {"rtol": 2e-3, "atol": 2e-12}
                assert np.allclose(found["attributed"][number, label], means.pop(label), **close)
                assert np.allclose(
                    found["attributed_elsewhere"][number, label], np.mean([*means.values()], axis=0), **close
                )
                terms = []
                for row, own, speaker in zip(rows, given.labels, given.speakers, strict=True):
                    there = [
                        values["product"][other, layer]
                        for other, name, who in zip(rows, given.labels, given.speakers, strict=True)
                        if name != label and who == speaker >= 0
                    ]
                    if own == label and there:
                        slope = values["gradient"][option, row, layer].astype("float64")
                        terms.append(values["attributed"][option, row, layer] - slope * np.mean(there, axis=0))
                wanted = np.mean(terms, axis=0) if terms else np.zeros(WIDTH)
                assert np.allclose(found["attributed_between"][number, label], wanted, **close)


def test_items_without_a_partner_are_left_out(selections):
    own, weights = partners(selections[0], 2)  # one of joy has speaker 1, the other none that is known
    assert own.tolist() == [2]
    assert weights.tolist() == [[0, 0, 0, 0.5, 0.5, 0, 0]]
    unknown = Selection("all", selections[0].items, selections[0].labels, EMOTIONS)
    assert len(partners(unknown, 0)[0]) == 0


def test_a_store_without_attribution_or_of_another_scope_is_refused(store, selections, tmp_path):
    with pytest.raises(ValueError, match="summed over 'audio'"):
        Owed(store, selections, "all")
    bare = Activity.create(tmp_path / "activity.zarr", 12, LAYERS, WIDTH, np.ones((LAYERS, WIDTH)), 4)
    with pytest.raises(ValueError, match="has no attribution beside it"):
        Owed(bare, selections, "audio")
