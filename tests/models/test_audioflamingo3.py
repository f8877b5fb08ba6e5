"""Parity with the official class and processor on the official layout."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors import safe_open

from emoscope.models.audio_lm import Request
from emoscope.models.registry import load_model
from tests.helpers.tiny_af3 import LAYERS
from tests.models.conftest import TEXT, sound


def official_inputs(model, requests):
    chats = [
        [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": request.text}]}]
        for request in requests
    ]
    texts = [model.processor.apply_chat_template(c, add_generation_prompt=True, tokenize=False) for c in chats]
    return model.processor(text=texts, audio=[request.audio for request in requests])


def test_key_names_on_disk_are_the_released_ones(folder):
    names = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    assert len(set(names.values())) == 3
    for layer in range(LAYERS):
        for part in ("gate_proj", "up_proj", "down_proj"):
            assert f"language_model.model.layers.{layer}.mlp.{part}.weight" in names
    for name in (
        "language_model.lm_head.weight",
        "language_model.model.embed_tokens.weight",
        "multi_modal_projector.linear_1.weight",
        "audio_tower.conv1.weight",
    ):
        assert name in names
    assert not any(name.startswith("model.") for name in names)


def test_every_weight_on_disk_is_in_the_loaded_model(folder, model):
    with safe_open(folder / "model-00001-of-00003.safetensors", "pt") as file:
        for name in list(file.keys()):
            inside = name.replace("language_model.model.", "model.language_model.").replace(
                "language_model.lm_head", "lm_head"
            )
            inside = inside if inside.startswith(("model.", "lm_head")) else f"model.{inside}"
            assert torch.equal(model.model.state_dict()[inside], file.get_tensor(name)), name


def test_next_token_logits_equal_the_official_forward(model, requests_, prepared):
    with torch.inference_mode():
        official = model.model(**official_inputs(model, requests_)).logits[:, -1]
    assert (model.next_logits(prepared) - official).abs().max() < 2e-5
    for request, row in zip(requests_, prepared, strict=True):
        with torch.inference_mode():
            single = model.model(**official_inputs(model, [request])).logits[:, -1]
        assert (model.next_logits([row]) - single).abs().max() < 2e-5


def test_greedy_answers_equal_the_official_generate(model, requests_, prepared):
    with torch.inference_mode():
        inputs = official_inputs(model, requests_)
        official = model.model.generate(
            **inputs,
            max_new_tokens=8,
            do_sample=False,
            repetition_penalty=1.0,
            temperature=None,
            top_p=None,
            top_k=None,
        )
    length = inputs["input_ids"].shape[1]
    texts = model.tokenizer.batch_decode(official[:, length:], skip_special_tokens=True)
    assert model.generate(prepared, max_new_tokens=8) == texts


@pytest.mark.filterwarnings("ignore:Passing `repetition_penalty`")
def test_the_checkpoints_sampling_is_switched_off(model, prepared):
    assert model.model.generation_config.do_sample
    torch.manual_seed(1)
    first = model.generate(prepared, max_new_tokens=8)
    torch.manual_seed(2)
    assert model.generate(prepared, max_new_tokens=8) == first
    # the checkpoint's own settings do give other answers: greedy decoding is not what it would do by itself
    rows = model.batch(prepared)
    drawn = set()
    for seed in range(5):
        torch.manual_seed(seed)
        tokens = model.model.generate(inputs_embeds=rows.embeddings, attention_mask=rows.mask, max_new_tokens=8)
        drawn.add(str(tokens.tolist()))
    assert len(drawn) > 1


def test_clips_of_a_batch_do_not_leak_into_each_other(model, requests_, prepared):
    for request, row in zip(requests_, prepared, strict=True):
        (alone,) = model.prepare([request])
        assert torch.equal(alone.scopes, row.scopes)
        assert (alone.embeddings - row.embeddings).abs().max() < 1e-5
    loud = Request(sound(2.9, 99) * 10, "Something else entirely.", ("A",))
    beside = model.prepare([loud, requests_[0]])[1]
    assert (beside.embeddings - prepared[0].embeddings).abs().max() < 1e-5


def test_a_long_clip_becomes_several_windows(model):
    # 16 kHz, window 1 s, one mel frame a 10 ms, one position per four frames
    for seconds, positions in ((1.0, 25), (1.5, 37), (2.0, 50), (2.04, 51)):
        (row,) = model.prepare([Request(sound(seconds, 0), TEXT, ("A",))])
        assert int((row.scopes == 0).sum()) == positions


def test_audio_stands_before_the_question(model, prepared):
    scopes = prepared[1].scopes.tolist()
    assert model.info.audio_first
    assert scopes.index(0) < len(scopes) - 1 - scopes[::-1].index(0) < scopes.index(2) == len(scopes) - 1


def test_each_clip_is_encoded_once(model, requests_):
    again = [*requests_, Request(requests_[0].audio.copy(), "Another question (A) x", ("A",))]
    with_counter = []
    handle = model.model.model.audio_tower.conv1.register_forward_hook(lambda m, a, o: with_counter.append(len(o)))
    try:
        rows = model.prepare(again)
    finally:
        handle.remove()
    assert sum(with_counter) == 1 + 3 + 1 + 1
    audio = [row.embeddings[row.scopes == 0] for row in rows]
    assert torch.equal(audio[0], audio[-1])


def test_a_question_without_sound(model):
    (row,) = model.prepare([Request(None, TEXT, ("A", "B"))])
    assert 0 not in row.scopes.tolist()
    ids = torch.tensor([model.tokens(TEXT, 0)])
    with torch.inference_mode():
        official = model.model(input_ids=ids).logits[:, -1]
    assert (model.next_logits([row]) - official).abs().max() < 2e-5


def test_text_with_the_audio_token_is_refused(model):
    with pytest.raises(ValueError, match="holds the audio token <sound>"):
        model.prepare([Request(sound(0.5, 0), "a <sound> b", ("A",))])


def test_other_weights_give_other_answers(model, prepared, tmp_path):
    # guards the parity tests: they would pass on a model that ignores its input
    from tests.helpers.tiny_af3 import write_checkpoint

    other = load_model(write_checkpoint(tmp_path / "other", seed=1))
    assert (other.next_logits(prepared) - model.next_logits(prepared)).abs().max() > 1
    assert np.ptp(model.next_logits(prepared).numpy(), axis=0).max() > 0.1
