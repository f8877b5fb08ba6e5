"""The recipe of the embedded model: a short run from the package's own data, and the parts that can go wrong silently."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from emoscope.questions import Question
from recipes.tiny.batches import Batches, Mixture
from recipes.tiny.encoder import whisper_state
from recipes.tiny.features import Clip, Features
from recipes.tiny.tokenizer import EMOTIONS, WORDS, Prompts, build_processor
from recipes.tiny.train import Settings, Training, hidden_states

ROOT = Path(__file__).parents[2]
TINY = ROOT / "src" / "emoscope" / "data" / "tiny"


@pytest.fixture(scope="module")
def prompts() -> Prompts:
    return Prompts(build_processor())


@pytest.fixture(scope="module")
def clips() -> Features:
    rng = np.random.default_rng(0)
    known = [
        Clip(f"clip{i}", f"m{i % 5}", ("anger", "fear", "neutral")[i % 3], WORDS[i % len(WORDS)]) for i in range(30)
    ]
    frames = [rng.standard_normal((20 + i % 7, 384)).astype(np.float16) for i in range(30)]
    return Features(tuple(known), tuple(frames))


def random_encoder() -> dict:
    from transformers.models.audioflamingo3 import AudioFlamingo3EncoderConfig
    from transformers.models.audioflamingo3.modeling_audioflamingo3 import AudioFlamingo3Encoder

    from recipes.tiny import encoder

    settings = {name: value for name, value in encoder.CONFIG.items() if name != "model_type"}
    return AudioFlamingo3Encoder(AudioFlamingo3EncoderConfig(**settings)).state_dict()


def training(prompts: Prompts, clips: Features, **changed: object) -> Training:
    mixture = Mixture(items=8, word_steps=2, hints_first=3, hint_steps=2, hints_then=2, hint_fade=2, one_word=2)
    return Training(Settings(steps=8, mixture=mixture, **changed), prompts, random_encoder_state(), clips, None)


_ENCODER: dict = {}


def random_encoder_state() -> dict:
    if not _ENCODER:
        _ENCODER.update(random_encoder())
    return _ENCODER


@pytest.mark.long
def test_smoke_run_writes_a_folder_that_transformers_alone_loads(tmp_path: Path) -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "src"), "HF_HUB_OFFLINE": "1"}
    command = [sys.executable, "-m", "recipes.tiny", "--smoke", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert says_something(tmp_path / "seed0" / "model") is not None


def test_embedded_model_answers_with_one_letter_and_stops() -> None:
    answer = says_something(TINY)
    assert answer in {"A", "B", "C"}
    assert sum(path.stat().st_size for path in TINY.iterdir()) < 24e6


def says_something(folder: Path) -> str:
    import torch
    from transformers import AudioFlamingo3ForConditionalGeneration, AutoProcessor

    from emoscope.corpora.audio import load_audio

    model = AudioFlamingo3ForConditionalGeneration.from_pretrained(folder, dtype=torch.float32)
    processor = AutoProcessor.from_pretrained(folder)
    text = Question("emotion", ("neutral", "anger", "fear")).text
    chat = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": text}]}]
    asked = processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    clip = ROOT / "src" / "emoscope" / "data" / "polish" / "m1.a_nie_1.flac"
    inputs = processor(text=[asked], audio=[load_audio(clip)])
    written = model.generate(**inputs, max_new_tokens=4)
    return processor.tokenizer.decode(written[0, inputs["input_ids"].shape[1] :], skip_special_tokens=True)


def test_prompts_equal_what_the_chat_template_gives(prompts: Prompts) -> None:
    text = Question("emotion", EMOTIONS).text
    chat = [{"role": "user", "content": [{"type": "audio"}, {"type": "text", "text": text}]}]
    written = prompts.processor.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids = prompts.tokenizer(written.replace("<sound>", "<sound>" * 5))["input_ids"]
    assert ids == prompts.audio(text, 5)


@pytest.mark.parametrize("wording", ["lettered", "listed", "listen first"])
def test_option_positions_point_at_the_labels(prompts: Prompts, wording: str) -> None:
    prompt = prompts.audio(Question("emotion", EMOTIONS, wording).text, 3)
    found = [prompts.tokenizer.decode([prompt[place]]).strip() for place in prompts.option_positions(prompt)]
    assert found == list(EMOTIONS)


def test_right_and_left_padding_give_the_same_answers(prompts: Prompts, clips: Features) -> None:
    import torch

    run = training(prompts, clips)
    items = [run.batches.choice() for _ in range(4)]
    together = hidden_states(run.model, prompts, items)
    for row, item in enumerate(items):
        alone = hidden_states(run.model, prompts, [item])
        size = len(item.prompt) + 1
        assert torch.allclose(together[row, :size], alone[0, :size], rtol=0, atol=1e-4 * float(alone.abs().max()))


def test_an_interrupted_run_ends_with_the_same_weights(prompts: Prompts, clips: Features, tmp_path: Path) -> None:
    import torch

    whole = training(prompts, clips)
    for _ in range(6):
        whole.step()
    first = training(prompts, clips)
    for _ in range(3):
        first.step()
    first.save(tmp_path / "checkpoint")
    second = training(prompts, clips)
    second.restore(tmp_path / "checkpoint")
    for _ in range(3):
        second.step()
    for (name, ours), theirs in zip(second.model.named_parameters(), whole.model.parameters(), strict=True):
        assert torch.equal(ours, theirs), name


def test_a_checkpoint_of_other_settings_is_refused(prompts: Prompts, clips: Features, tmp_path: Path) -> None:
    run = training(prompts, clips)
    run.step()
    run.save(tmp_path / "checkpoint")
    with pytest.raises(ValueError, match="seed"):
        training(prompts, clips, seed=1).restore(tmp_path / "checkpoint")


def test_frozen_parts_stay_as_they_were(prompts: Prompts, clips: Features) -> None:
    import torch

    run = training(prompts, clips)
    before = {name: p.detach().clone() for name, p in run.model.named_parameters()}
    for _ in range(4):
        run.step()
    changed = {name for name, p in run.model.named_parameters() if not torch.equal(before[name], p)}
    assert any(".mlp." in name for name in changed)
    assert not [name for name in changed if "audio_tower" in name or "projector" in name]
    assert not [name for name in changed if ".v_proj." in name or ".o_proj." in name]


def test_options_vary_in_number_and_wording_and_the_default_is_commonest(prompts: Prompts, clips: Features) -> None:
    batches = Batches(prompts, Mixture(), clips, None, seed=0)
    items = [batches.hint() for _ in range(600)]
    sizes = Counter(len(item.matches) for item in items)
    assert set(sizes) == {2, 3, 4, 5, 6, 7}
    default = sum("Which" in prompts.tokenizer.decode(item.prompt[:12]) for item in items)
    assert default > 300
    for item in items:
        assert [true for _, true in item.matches].count(True) == 1


def test_features_survive_saving(clips: Features, tmp_path: Path) -> None:
    # frames come out of the encoder transposed in memory; saved as they lay they would be scrambled
    turned = Features(clips.clips, tuple(np.asfortranarray(frames) for frames in clips.frames))
    turned.save(tmp_path / "some")
    read = Features.load(tmp_path / "some")
    assert read.clips == clips.clips
    for ours, theirs in zip(read.frames, clips.frames, strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_another_whisper_file_is_refused(tmp_path: Path) -> None:
    other = tmp_path / "model.bin"
    other.write_bytes(b"something else")
    with pytest.raises(ValueError, match="sha256"):
        whisper_state(other)
