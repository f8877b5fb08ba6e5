"""Weights in memory against the files: what is compared, what is told, what is refused."""

from __future__ import annotations

import shutil
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AudioFlamingo3ForConditionalGeneration

from emoscope.models import check
from emoscope.models.complete import compare
from emoscope.models.registry import load_model, wrap
from tests.helpers.tiny_families import write_granite_speech
from tests.models.family_weights import damaged

NAME = "all weights came from the files"
ENCODER = "model.audio_tower.layers.0.fc1.weight"


@pytest.fixture
def own(folder, tmp_path):
    """A folder that a test may change."""
    return shutil.copytree(folder, tmp_path / "own")


def row(model, full=False):
    """The row of a run's proofs, or of a model check."""
    return check._proof(NAME, check.RUN_PROOFS[NAME], check.Case(model, [], [], "", full=full))


def shard_of(folder, ending):
    return next(
        (file.name, name) for file in folder.glob("model*.safetensors") for name in load_file(file) if name.endswith(ending)
    )  # fmt: skip


def test_every_value_in_a_check_and_rows_of_every_tensor_in_a_run(model):
    full, sampled = compare(model.sources, True), compare(model.sources, False)
    assert full.tensors == sampled.tensors == len(model.model.state_dict())
    assert full.values == full.parameters == sampled.parameters > 2 * sampled.values
    assert row(model).note == (
        f"{sampled.tensors} tensors compared, {sampled.values:,} of {full.parameters:,} values, in memory and in the files"
    )
    assert row(model, full=True).note.startswith(
        f"{full.tensors} tensors compared, {full.values:,} of {full.values:,} "
    )
    assert (row(model).status, row(model).measured, row(model).tolerance) == ("passed", 0, 0)


def test_one_value_that_is_not_of_the_files_is_found(own):
    model = load_model(own)
    with torch.no_grad():
        model.model.get_parameter(ENCODER)[0, 0] += 1e-3
    found = row(model, full=True)
    assert (found.status, found.measured) == ("failed", 1)
    assert f"not those of the files: {ENCODER}" in found.note
    # a tensor that is filled with other numbers is found by its sampled rows
    with torch.no_grad():
        model.model.get_parameter(ENCODER).normal_()
    assert row(model).status == "failed"


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_files_are_compared_in_the_dtype_of_the_memory(folder, dtype):
    assert not compare(load_model(folder, dtype=dtype).sources, True).differ


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_an_adapter_is_part_of_what_is_compared(tmp_path, dtype):
    model = load_model(write_granite_speech(tmp_path / "granite"), dtype=dtype)
    for full in (True, False):
        found = compare(model.sources, full)
        assert (found.differ, found.left) == ([], {})
    without = [replace(source, adapter=None) for source in model.sources]
    changed = compare(without, False).differ
    assert changed
    assert all("self_attn" in name for name in changed)


def test_an_adapter_that_leaves_a_layer_out_is_refused(tmp_path):
    folder = write_granite_speech(tmp_path / "granite")
    with damaged(folder, "adapter_model.safetensors") as (copy, tensors):
        for name in [name for name in tensors if ".layers.1.self_attn.q_proj." in name]:
            del tensors[name]
    with pytest.raises(ValueError, match=r"the adapter lacks the factors of the layers 1\.self_attn\.q_proj: fetch"):
        load_model(copy)


def test_the_first_five_names_and_the_way_out_are_told(folder):
    with damaged(folder, shard_of(folder, "conv1.weight")[0]) as (copy, tensors):
        count = len(tensors)
        tensors.clear()
        tensors["language_model.model.layers.1.mlp.spare.weight"] = torch.ones(1)
    wanted = (
        rf"and {count - 5} more; unexpected model\.language_model\.layers\.1\.mlp\.spare\.weight: fetch the model again"
    )
    with pytest.raises(ValueError, match=wanted) as error:
        load_model(copy)
    assert str(error.value).startswith(f"{copy} does not hold the weights that its config.json asks for: missing ")


def test_what_belongs_to_no_part_of_the_model_is_told_and_not_refused(folder):
    file, _ = shard_of(folder, "conv1.weight")
    with damaged(folder, file) as (copy, tensors):
        tensors["value_head.weight"] = torch.full((2,), float("nan"))  # nobody reads it
    found = row(load_model(copy))
    assert found.status == "passed"
    assert found.note.endswith("; stored beside them, in no part of the model: value_head.weight")


@pytest.mark.parametrize(("ending", "value"), [("conv1.weight", "nan"), ("layers.1.mlp.up_proj.weight", "-inf")])
def test_a_value_that_is_not_finite_is_refused_by_file_and_name(folder, ending, value):
    file, name = shard_of(folder, ending)
    with damaged(folder, file) as (copy, tensors):
        tensors[name].view(-1)[3] = float(value)
    with pytest.raises(ValueError, match="holds weights that are not finite") as error:
        load_model(copy)
    assert f"{file} holds" in str(error.value)
    assert f": {name}: fetch" in str(error.value)


def test_what_half_precision_cannot_hold_is_refused(folder):
    file, name = shard_of(folder, "conv1.weight")
    with damaged(folder, file) as (copy, tensors):
        tensors[name].view(-1)[0] = 1e5
    load_model(copy, dtype="bfloat16")
    with pytest.raises(
        ValueError, match=r"not finite in memory: model\.audio_tower\.conv1\.weight\. Load it in float32"
    ):
        load_model(copy, dtype="float16")


# Models that the user has loaded.


def official(folder):
    return AudioFlamingo3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)


def test_a_wrapped_model_is_compared_with_its_folder(own, model):
    module = official(own)
    assert row(wrap(module, model.processor)).status == "passed"
    with torch.no_grad():
        module.get_parameter(ENCODER).mul_(2)  # as a user may: that is no fault
    found = row(wrap(module, model.processor))
    assert (found.status, found.measured) == ("not run", None)
    assert f"1 weights are not those of the files, such as {ENCODER}: the model was changed in memory" in found.note
    module.config._name_or_path = "somebody/some-model"
    module.name_or_path = "somebody/some-model"
    found = row(wrap(module, model.processor))
    assert (found.status, found.note) == ("not run", "no files are known: the model was given as it stood in memory")


@pytest.mark.filterwarnings("ignore")
def test_a_wrapped_model_that_was_filled_with_random_numbers_is_refused(folder, model):
    file, name = shard_of(folder, "layers.1.mlp.down_proj.weight")
    with damaged(folder, file) as (copy, tensors):
        tensors[name.replace("down", "dawn")] = tensors.pop(name)
    with pytest.raises(ValueError, match=r"missing model\.language_model\.layers\.1\.mlp\.down_proj\.weight"):
        wrap(official(copy), model.processor)
    # modules that were added are none of its class
    module = official(folder)
    module.model.language_model.layers[0].mlp.extra = torch.nn.Linear(2, 2)
    assert wrap(module, model.processor).sources


def test_a_wrapped_model_with_a_value_that_is_not_finite_is_refused(own, model):
    module = official(own)
    with torch.no_grad():
        module.get_parameter(ENCODER)[0, 0] = float("inf")
    with pytest.raises(ValueError, match=rf"not finite in memory: {ENCODER}"):
        wrap(module, model.processor)


def test_one_file_without_an_index_is_read_too(folder, tmp_path):
    copy = shutil.copytree(folder, tmp_path / "whole")
    tensors = {name: tensor for file in copy.glob("model*.safetensors") for name, tensor in load_file(file).items()}
    for file in copy.glob("model*"):
        file.unlink()
    save_file(tensors, copy / "model.safetensors", metadata={"format": "pt"})
    assert not compare(load_model(copy).sources, True).differ
