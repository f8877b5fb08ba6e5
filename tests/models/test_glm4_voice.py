"""The speech tokenizer: both ways of naming its weights, segments, batches, what it refuses."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from emoscope.models.families.kimi_tokenizers import SPARE, VoiceEncoder, VoiceTokenizer
from tests.helpers.tiny_kimi import CODES, WINDOW_S, write_tokenizer
from tests.models.family_checks import sound
from tests.models.official_keys import official_names

CPU = torch.device("cpu")
RELEASED = {
    "num_mel_bins": 128, "d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
    "max_source_positions": 1500, "pooling_kernel_size": 4, "pooling_position": 16, "quantize_position": 16,
    "quantize_vocab_size": 16384, "quantize_causal_block_size": 200,
}  # fmt: skip


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_tokenizer(tmp_path_factory.mktemp("voice") / "tiny")


@pytest.fixture(scope="module")
def speech(written):
    return VoiceTokenizer.from_folder(written, CPU)


def test_the_released_names_are_those_that_the_loader_expects():
    with torch.device("meta"):
        state = VoiceEncoder(RELEASED).state_dict()
    released = official_names("glm4_voice_tokenizer.txt")
    assert {name: released[name] for name in state} == {name: tuple(tensor.shape) for name, tensor in state.items()}
    assert all(SPARE.fullmatch(name) for name in set(released) - set(state))


def test_the_encoder_of_whisper_has_the_released_names():
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    sizes = {"d_model": 1280, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120}
    with torch.device("meta"):
        state = WhisperEncoder(WhisperConfig(num_mel_bins=128, **sizes)).state_dict()
    released = official_names("kimi_audio_whisper.txt")
    assert released == {f"model.encoder.{name}": tuple(tensor.shape) for name, tensor in state.items()}


@pytest.mark.parametrize("prefix", ["", "model.encoder."])
def test_both_ways_of_naming(speech, tmp_path, prefix):
    again = write_tokenizer(tmp_path / "again", prefix=prefix)
    tensors = load_file(again / "model.safetensors")
    further = {f"{prefix}layers.2.fc1.weight": torch.ones(1), f"{prefix}layer_norm.weight": torch.ones(1)}
    save_file(tensors | further, again / "model.safetensors")
    clips = [sound(1.3), sound(0.6, 1)]
    for a, b in zip(VoiceTokenizer.from_folder(again, CPU)(clips), speech(clips), strict=True):
        assert torch.equal(a, b)


def test_codes_are_in_the_codebook_and_differ(speech):
    (codes,) = speech([sound(1.9)])
    assert 0 <= int(codes.min()) <= int(codes.max()) < CODES
    assert len(set(codes.tolist())) > 3


def alike(one, other):
    """Whether codes are equal but for one, and one more in fifty: rounding decides where two are equally near."""
    return len(one) == len(other) and int((one != other).sum()) <= 1 + len(one) // 50


def test_a_batch_gives_what_each_clip_gives(speech):
    clips = [sound(seconds, i) for i, seconds in enumerate((0.5, 1.9, 1.0, 4.7, 0.08))]
    for clip, together in zip(clips, speech(clips), strict=True):
        assert alike(together, speech([clip])[0])
    loud = 30 * sound(1.99, 9)
    assert alike(speech([loud, clips[0]])[1], speech([clips[0]])[0])
    assert not alike(speech([clips[0] + 0.1 * loud[: len(clips[0])]])[0], speech([clips[0]])[0])


@pytest.mark.parametrize(("samples", "frames"), [(1280, 8), (1281, 16), (16_000, 104)])
def test_a_clip_is_filled_to_whole_codes_and_no_further(speech, samples, frames):
    # the last frames look past the end of the clip: what is there must be what the official code puts there
    given = []
    handle = speech.encoder.conv1.register_forward_pre_hook(lambda module, inputs: given.append(inputs[0].shape[-1]))
    try:
        speech([sound(1.0)[:samples]])
    finally:
        handle.remove()
    assert given == [frames + 2]


def test_segments_are_encoded_apart_and_joined(speech):
    clip = sound(2 * WINDOW_S)
    half = WINDOW_S * 16_000
    assert alike(speech([clip])[0], torch.cat([speech([clip[:half]])[0], speech([clip[half:]])[0]]))


def test_sound_acts_within_its_block_and_after_it_alone(speech):
    # a block is 20 positions of 20 ms: 0.4 s, five codes
    clip = sound(1.9)
    changed = clip.copy()
    changed[14_000:] = sound(1.9, 5)[14_000:]
    one, two = speech([clip])[0], speech([changed])[0]
    # the spectrogram of a position reaches 25 ms ahead, and a loud sound anywhere moves its floor: hence equal loudness
    assert torch.equal(one[:10], two[:10])
    assert not torch.equal(one[10:], two[10:])


def test_a_slow_pass_gives_the_same_codes(speech):
    """Position by position with explicit sums, as the definition reads."""
    encoder, clip = speech.encoder, sound(1.0, 3)
    mel = speech.mel([clip], sampling_rate=16_000, padding="longest", pad_to_multiple_of=1280, return_tensors="pt")
    with torch.inference_mode():
        x = torch.nn.functional.pad(mel["input_features"], (2, 0))
        x = torch.nn.functional.gelu(encoder.conv1(x))
        x = torch.nn.functional.gelu(encoder.conv2(torch.nn.functional.pad(x, (2, 0))))[0].T
        x = x + encoder.embed_positions.weight[: len(x)]
        valid = -(-len(clip) // 320)
        for layer in encoder.layers:
            normed = layer.self_attn_layer_norm(x)
            q, k, v = (layer.self_attn[n](normed) for n in ("q_proj", "k_proj", "v_proj"))
            mixed = torch.zeros_like(x)
            for place in range(len(x)):
                end = min(valid, (place // 20 + 1) * 20)
                for head in range(2):
                    part = slice(8 * head, 8 * head + 8)
                    weights = torch.softmax(k[:end, part] @ q[place, part] / 8**0.5, 0)
                    mixed[place, part] = weights @ v[:end, part]
            x = x + layer.self_attn["out_proj"](mixed)
            x = x + layer.fc2(torch.nn.functional.gelu(layer.fc1(layer.final_layer_norm(x))))
        pooled = x.view(-1, 4, x.shape[1]).mean(1)
        codes = torch.cdist(pooled, encoder.codebook.weight).argmin(1)[: -(-len(clip) // 1280)]
    assert alike(codes, speech([clip])[0])


@pytest.mark.parametrize(
    ("entry", "value", "error"),
    [
        ("pooling_type", "max", "with pooling_type = 'max'"),
        ("encoder_causal_convolution", False, "with encoder_causal_convolution = False"),
        ("pooling_position", 1, "pools after layer 1 and names codes after layer 2"),
    ],
)
def test_other_tokenizers_are_refused(tmp_path, entry, value, error):
    folder = write_tokenizer(tmp_path / "other")
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {entry: value}))
    with pytest.raises(ValueError, match=error):
        VoiceTokenizer.from_folder(folder, CPU)


def test_weights_that_do_not_fit(tmp_path):
    folder = write_tokenizer(tmp_path / "other")
    tensors = load_file(folder / "model.safetensors")
    save_file(tensors | {"codebook.weight": torch.ones(3, 16)}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"codebook\.weight \[3, 16\], where config\.json says \[24, 16\]"):
        VoiceTokenizer.from_folder(folder, CPU)
    save_file({name: t for name, t in tensors.items() if "conv" not in name}, folder / "model.safetensors")
    with pytest.raises(ValueError, match=r"missing conv1\.bias"):
        VoiceTokenizer.from_folder(folder, CPU)
    (folder / "preprocessor_config.json").unlink()
    with pytest.raises(FileNotFoundError, match=r"no preprocessor_config\.json"):
        VoiceTokenizer.from_folder(folder, CPU)


def test_sound_is_float32_at_16_khz(speech):
    assert speech([np.zeros(1280, np.float32)])[0].dtype == torch.int64
    assert speech.samples_per_code == 1280
