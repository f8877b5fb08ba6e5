"""Kimi-Audio's text branch and speech codes against answers of the official code on small random checkpoints.

The folder oracles holds those checkpoints, with the official names, and what the official code said (CPU, float32).
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from safetensors.torch import load_file
from transformers import WhisperFeatureExtractor

from emoscope.corpora import polish_folder
from emoscope.models.families.kimi_audio import KimiConfig, KimiDecoder
from emoscope.models.families.kimi_tokenizers import VoiceTokenizer
from emoscope.models.family import Loading
from tests.helpers.noise import MANY

ORACLES = Path(__file__).parent / "oracles"
BLANK = 280
SAME = 1e-4
"""Largest difference, as a share of the largest logit, that counts as rounding; on the machine of the answers it is 0."""

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def decoder():
    folder = ORACLES / "kimi_audio_decoder"
    config = KimiConfig.from_raw(json.loads((folder / "config.json").read_text()), "oracle")
    return Loading("oracle", torch.float32, CPU).pretrained(KimiDecoder, folder, config=config).eval()


@pytest.fixture(scope="module")
def answers():
    return load_file(ORACLES / "kimi_audio_decoder.expected.safetensors")


@pytest.fixture(scope="module")
def merged(decoder, answers):
    with torch.inference_mode():
        return decoder.merge(
            answers["audio_ids"][0],
            answers["text_ids"][0],
            answers["audio_mask"][0].bool(),
            answers["whisper_features"][0],
        )


@torch.inference_mode()
def test_text_logits_are_the_official_ones(decoder, answers, merged):
    logits = decoder(inputs_embeds=merged[None]).logits
    assert answers["text_logits"].abs().max() > 0.1
    assert (logits - answers["text_logits"]).abs().max() < SAME * answers["text_logits"].abs().max()


@torch.inference_mode()
def test_greedy_tokens_are_the_official_ones(decoder, answers, merged):
    # over the whole vocabulary, as the answers were made; models limit it to the text tokens
    table, cache, step, written = decoder.get_input_embeddings(), None, merged[None], []
    for _ in range(len(answers["greedy_text_ids"])):
        output = decoder(inputs_embeds=step, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        written.append(int(output.logits[0, -1].argmax()))
        step = (table(torch.tensor(written[-1])) + table(torch.tensor(BLANK)))[None, None]
    assert written == answers["greedy_text_ids"].tolist()
    assert len(set(written)) > 1


@torch.inference_mode()
def test_a_clip_embedded_apart_is_what_the_merge_gives(decoder, answers, merged):
    masked = answers["audio_mask"][0].bool()
    codes, features = answers["audio_ids"][0, masked], answers["whisper_features"][0, : int(masked.sum())]
    blank = decoder.get_input_embeddings()(torch.tensor(BLANK))
    assert torch.equal(decoder.heard(codes, features) + blank, merged[masked])


@torch.inference_mode()
def test_the_features_decide_the_logits(decoder, answers):
    # guards the tests above: they would pass on a model that hears nothing
    streams = answers["audio_ids"][0], answers["text_ids"][0], answers["audio_mask"][0].bool()
    deaf = decoder(inputs_embeds=decoder.merge(*streams, torch.zeros_like(answers["whisper_features"][0]))[None]).logits
    assert (deaf - answers["text_logits"]).abs().max() > 100 * SAME * answers["text_logits"].abs().max()


def test_the_spectrogram_of_whisper_is_the_official_one():
    """The official code has a spectrogram of its own: 30 s of samples, torch.stft, a floor 8 decades below the loudest."""
    extractor = WhisperFeatureExtractor(feature_size=128, chunk_length=30)
    clip, _ = soundfile.read(polish_folder() / "m1.a_nie_1.flac", dtype="float32")
    filled = torch.nn.functional.pad(torch.from_numpy(clip), (0, 480_000 - len(clip)))

    def official(dtype):
        window = torch.hann_window(400, dtype=dtype)
        power = torch.stft(filled.to(dtype), 400, 160, window=window, return_complex=True)[:, :-1].abs() ** 2
        log = (torch.from_numpy(extractor.mel_filters).to(dtype).T @ power).clamp(min=1e-10).log10()
        return (torch.maximum(log, log.max() - 8) + 4) / 4

    exact = official(torch.float64)
    rounding = (official(torch.float32) - exact).abs().max()
    ours = extractor([clip], sampling_rate=16_000, return_tensors="pt")["input_features"][0]
    assert (ours - exact).abs().max() < MANY * rounding < 1e-3


# Speech codes.


@pytest.fixture(scope="module")
def speech():
    return VoiceTokenizer.from_folder(ORACLES / "glm4_voice_tokenizer", CPU)


@pytest.fixture(scope="module")
def official():
    return json.loads((ORACLES / "glm4_voice_tokenizer" / "expected.json").read_text())


def test_codes_of_the_packages_own_clip_are_the_official_ones(speech, official):
    (place,) = [i for i, clip in enumerate(official["clips"]) if clip.startswith("polish/")]
    clip, _ = soundfile.read(polish_folder() / Path(official["clips"][place]).name, dtype="float32")
    assert speech([clip])[0].tolist() == official["codes_one_by_one"][place]


def test_codes_of_all_clips_are_the_official_ones(speech, official):
    data = os.environ.get("EMOSCOPE_DATA")
    if not data:
        pytest.skip("skipped: EMOSCOPE_DATA not set; two of the clips may not be handed on")
    one, two, three = (soundfile.read(Path(data) / clip, dtype="float32")[0] for clip in official["clips"][:3])
    clips = [one, two, three, np.concatenate([one, three, one])]
    assert [codes.tolist() for codes in speech(clips)] == official["codes_in_one_batch"]
    assert [speech([clip])[0].tolist() for clip in clips] == official["codes_one_by_one"]
    assert len(official["codes_one_by_one"][3]) > speech.encoder.block // speech.encoder.pooled
