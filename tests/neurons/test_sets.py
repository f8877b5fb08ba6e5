"""Neuron sets: algebra, checks, files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors import safe_open
from safetensors.numpy import save, save_file

from emoscope.neurons.sets import NeuronSet, NeuronSets, load_group, load_set, safe_name, save_group
from emoscope.runs.ending import ending

numbers = st.sets(st.integers(0, 39), max_size=20)


def make(members, emotion="anger", **meta):
    return NeuronSet(emotion, np.array(sorted(members), "int64"), 4, 10, meta)


@given(one=numbers, two=numbers)
def test_algebra_is_that_of_sets(one, two):
    assert set(make(one) | make(two)) == one | two
    assert set(make(one) & make(two)) == one & two
    assert len(make(one)) == len(one)
    union = len(one | two)
    assert make(one).jaccard(make(two)) == (len(one & two) / union if union else 0.0)


def test_layers_and_indices():
    one = make([3, 12, 13, 39])
    assert one.layer.tolist() == [0, 1, 1, 3]
    assert one.index.tolist() == [3, 2, 3, 9]
    assert one.per_layer.tolist() == [1, 2, 0, 1]
    assert np.asarray(one).tolist() == [3, 12, 13, 39]
    assert 12 in one
    assert 11 not in one
    assert "anger" not in one


def test_it_prints_what_it_is():
    one = make([3, 12])
    assert repr(one) == "NeuronSet(anger: 2 of 40 neurons, 2 of 4 layers)"
    assert "<td>1</td><td>1</td><td>0</td><td>0</td>" in one._repr_html_()
    sets = NeuronSets({"anger": one}, {"a": {"anger": one}, "b": {"anger": one}})
    assert repr(sets) == "NeuronSets(anger 2; 2 folds)"
    assert "<td>1.00</td>" in sets._repr_html_()


def test_files_give_back_the_sets_and_the_same_bytes(tmp_path):
    one = make([3, 12], selector="cas", budget=0.05)
    one.save(tmp_path / "one.safetensors")
    assert NeuronSet.load(tmp_path / "one.safetensors") == one
    assert NeuronSet.load(tmp_path / "one.safetensors").meta == {"selector": "cas", "budget": 0.05}
    group = {"sadness": make([1], "sadness"), "anger": one, "fear": make([], "fear")}
    folds = {"f": {"anger": make([4])}, "g/h": {"fear": make([5], "fear")}}
    for name in "ab":
        save_group(tmp_path / name / "group.safetensors", group, folds, {"set": "cas", "made": "today"})
    path = tmp_path / "a" / "group.safetensors"
    assert load_group(path) == group
    assert list(load_group(path)) == ["sadness", "anger", "fear"]
    assert {fold: load_group(path, fold) for fold in folds} == folds
    with pytest.raises(FileNotFoundError, match="no sets of fold i"):
        load_group(path, "i")
    assert path.read_bytes() == (tmp_path / "b" / "group.safetensors").read_bytes()
    assert [file.name for file in path.parent.iterdir()] == ["group.safetensors"]
    with safe_open(path, framework="np") as file:
        card = json.loads(file.metadata()["neuron_sets"])
        assert set(file.keys()) == {"all/sadness", "all/anger", "all/fear", "f/anger", f"{safe_name('g/h')}/fear"}
    assert card["folds"]["all"]["anger"] == {"size": 2, "selector": "cas", "budget": 0.05}
    assert (card["set"], card["layers"], card["width"], list(card["folds"])) == ("cas", 4, 10, ["all", "f", "g/h"])
    with pytest.raises(ValueError, match="sadness, anger, fear"):
        NeuronSet.load(tmp_path / "a" / "group.safetensors")


def test_means_go_with_the_neurons(tmp_path):
    means = np.arange(40, dtype="float32") / 4

    def known(members, emotion="anger", shift=0):
        chosen = np.array(sorted(members))
        return NeuronSet(emotion, chosen, 4, 10, mean_product=means[chosen] + shift)

    one, two = known([3, 12]), known([12, 30])
    assert (one | two).mean_product.tolist() == [0.75, 3, 7.5]
    assert (one & two).mean_product.tolist() == [3]
    # of two runs, which do not agree on neuron 12, or of a set without means
    assert (one | known([12, 30], shift=1)).mean_product is None
    assert (one | known([30], shift=1)).mean_product.tolist() == [0.75, 3, 8.5]
    assert (one & make([12])).mean_product is None
    NeuronSets({"anger": one}, {"a": {"anger": two}}).save(tmp_path)
    back = NeuronSets.load(tmp_path)
    assert back["anger"].mean_product.tolist() == [0.75, 3]
    assert back["anger"].mean_product.dtype == "float32"
    assert back.folds["a"]["anger"].mean_product.tolist() == [3, 7.5]
    with safe_open(tmp_path / "all.safetensors", framework="np") as file:
        assert "tensors <fold>/mean_product/<emotion>" in file.metadata()["neuron_sets"]
        assert file.get_tensor("a/mean_product/anger").tolist() == [3, 7.5]
    make([1]).save(tmp_path / "none.safetensors")
    assert NeuronSet.load(tmp_path / "none.safetensors").mean_product is None
    with pytest.raises(ValueError, match="1 means for the 2 neurons of anger"):
        NeuronSet("anger", np.array([3, 4]), 4, 10, mean_product=[1.0])


def test_a_folder_of_folds_comes_back(tmp_path):
    folds = {"s/1": {"anger": make([1, 2])}, "s2": {"anger": make([2, 3])}}
    NeuronSets({"anger": make([1, 2, 3])}, folds).save(tmp_path)
    back = NeuronSets.load(tmp_path)
    assert back["anger"] == make([1, 2, 3])
    assert back.folds == folds
    assert back.stability == {"anger": 1 / 3}
    assert np.isnan(NeuronSets({"anger": make([1])}).stability["anger"])


def test_mistakes_are_named(tmp_path):
    with pytest.raises(ValueError, match="ascending and different"):
        NeuronSet("anger", np.array([3, 1]), 4, 10)
    with pytest.raises(ValueError, match="ascending and different"):
        NeuronSet("anger", np.array([3, 3]), 4, 10)
    with pytest.raises(ValueError, match="neuron 40 of anger does not fit 4 layers x 10"):
        NeuronSet("anger", np.array([3, 40]), 4, 10)
    with pytest.raises(ValueError, match="neuron -1"):
        NeuronSet("anger", np.array([-1, 4]), 4, 10)
    with pytest.raises(ValueError, match="different models"):
        make([1]) | NeuronSet("fear", np.array([1]), 5, 10)
    with pytest.raises(KeyError, match="there are sets for anger"):
        NeuronSets({"anger": make([1])})["fear"]
    with pytest.raises(FileNotFoundError, match="does not exist"):
        NeuronSet.load(tmp_path / "none.safetensors")
    with pytest.raises(FileNotFoundError, match=r"no all\.safetensors"):
        NeuronSets.load(tmp_path)


def test_different_names_give_different_files(tmp_path):
    names = ["李", "王", "a b/c:d", "a_b_c_d", "a b:c/d", "s1", "ü", "cas@0.05:audio", "cas@0.05:audio~matched1"]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert all(name.isascii() and not set(name) & set(' /:\\*?"<>|') for name in safe)
    assert safe[3] == "a_b_c_d"
    assert safe[5] == "s1"
    assert safe[7] == "cas@0.05_audio"
    folds = {fold: {"anger": make([number])} for number, fold in enumerate(("李", "王"))}
    NeuronSets({"anger": make([1, 2])}, folds).save(tmp_path)
    assert NeuronSets.load(tmp_path).folds == folds


def save_as_before(folder, folds):
    """Sets as earlier versions wrote them: each fold in a file of its own, with a card beside it."""
    for fold, group in folds.items():
        path = folder / f"{safe_name(fold)}.safetensors"
        tensors = {emotion: one.neurons for emotion, one in group.items()}
        means = {f"mean_product/{e}": one.mean_product for e, one in group.items() if one.mean_product is not None}
        save_file({**tensors, **means}, path)
        emotions = {emotion: {"size": len(one), **one.meta} for emotion, one in group.items()}
        card = {"set": "cas", "fold": fold, "layers": 4, "width": 10, "emotions": emotions}
        path.with_suffix(".json").write_text(json.dumps(card))


def test_sets_of_earlier_versions_are_read(tmp_path):
    one = NeuronSet("anger", [1, 2], 4, 10, {"selector": "cas"}, [0.5, 1])
    folds = {"all": {"anger": one, "fear": make([3], "fear")}, "s/1": {"anger": make([2, 3]), "fear": make([], "fear")}}
    place = tmp_path / "cas@0.1_all"
    place.mkdir()
    save_as_before(place, folds)
    sets = NeuronSets.load(place)
    assert {"all": dict(sets), **sets.folds} == folds
    assert (sets["anger"].meta, sets["anger"].mean_product.tolist()) == ({"selector": "cas"}, [0.5, 1])
    assert load_set(tmp_path, "cas@0.1:all", "s/1")["anger"].tolist() == [2, 3]
    assert load_group(place / "all.safetensors") == folds["all"]
    assert load_group(place / f"{safe_name('s/1')}.safetensors") == folds["s/1"]
    with pytest.raises(FileNotFoundError, match="s2"):
        load_set(tmp_path, "cas@0.1:all", "s2")
    # once written anew, files that stayed beside it are no part of the set
    NeuronSets(sets, {"s2": folds["s/1"]}).save(place)
    assert NeuronSets.load(place).folds == {"s2": folds["s/1"]}


def test_damaged_files_are_the_users(tmp_path):
    path, one = tmp_path / "all.safetensors", {"anger": make([1, 5])}
    save_as_before(tmp_path, {"all": one})
    card, tensors = path.with_suffix(".json").read_text(), path.read_bytes()
    wrong = (
        (b'{"a":' * 100_000, "is not valid JSON"),
        (card[:30].encode(), "is not valid JSON"),
        (b"[]", "must hold a JSON object"),
        (card.replace('"layers": 4', '"layers": -4').encode(), "is no card of neuron sets"),
        (card.replace('"layers": 4', '"layers": "4"').encode(), "is no card of neuron sets"),
        (card.replace('"layers": 4', '"layers": 1').replace('"width": 10', '"width": 2').encode(), r"all\.safetensors: neuron 5 of anger"),
        (card.replace('"anger"', '"fear"').encode(), "holds no neurons of fear"),
        (card.replace('"emotions"', '"emotion"').encode(), "is no card of neuron sets"),
    )  # fmt: skip
    before = [("all.json", *case) for case in (*wrong, (b"\xff\xfe", "is not valid JSON"))]
    for name, content, said in (
        *before,
        ("all.safetensors", tensors[:40], "cannot be read as safetensors"),
        ("all.safetensors", tensors.replace(b'"I64"', b'"F64"'), "holds no neurons of anger"),
        ("all.safetensors", b"version https://git-lfs", "cannot be read as safetensors"),
    ):
        (tmp_path / "all.json").write_text(card)
        path.write_bytes(tensors)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(ValueError, match=said) as refused:
            load_group(path)
        assert ending(refused.value)[0] == 2
    # the same in a header
    for content, said in wrong:
        text = content.decode().replace('"emotions": {', '"folds": {"all": {') + "}" * (b'"emotions"' in content)
        path.write_bytes(save({"all/anger": one["anger"].neurons}, {"neuron_sets": text}))
        with pytest.raises(ValueError, match=said) as refused:
            load_group(path)
        assert ending(refused.value)[0] == 2
