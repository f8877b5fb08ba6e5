"""Qwen2.5-Omni: what every family must show, the thinker alone, its positions and its own input assembly."""

from __future__ import annotations

import json
import logging
import shutil
from pathlib import Path

import pytest
import torch
from transformers import (
    Qwen2_5OmniConfig,
    Qwen2_5OmniForConditionalGeneration,
    Qwen2_5OmniThinkerConfig,
    Qwen2_5OmniThinkerForConditionalGeneration,
)

from emoscope.models.audio_lm import Request
from emoscope.models.complete import compare
from emoscope.models.families.whisper import SILENCE
from emoscope.models.lookup import look_up
from emoscope.models.registry import _dtype, load_model, wrap
from tests.helpers.tiny_families import LAYERS, LONGEST, WIDTH, write_qwen2_5_omni, write_thinker
from tests.models.family_checks import QUESTION, FamilyChecks, sound
from tests.models.official_keys import names_in_memory, official_names, without_numbers

LONGEST_S = LONGEST["qwen2_5_omni"]

AUDIO = {"num_mel_bins": 128, "encoder_layers": 32, "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
         "d_model": 1280}  # fmt: skip
VISION = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "window_size": 112}
SIZES = {
    "7B": {"hidden": 3584, "vocab_size": 152064, "intermediate_size": 18944, "num_hidden_layers": 28,
           "num_attention_heads": 28, "num_key_value_heads": 4},
    "3B": {"hidden": 2048, "vocab_size": 151936, "intermediate_size": 11008, "num_hidden_layers": 36,
           "num_attention_heads": 16, "num_key_value_heads": 2},
}  # fmt: skip
"""Sizes of the released configurations."""


def released(size):
    """The real thinker in a released size, on the meta device."""
    text = dict(SIZES[size])
    hidden = text.pop("hidden")
    config = Qwen2_5OmniThinkerConfig(
        audio_config=AUDIO | {"output_dim": hidden},
        vision_config=VISION | {"out_hidden_size": hidden},
        text_config=text | {"hidden_size": hidden, "tie_word_embeddings": False},
    )
    with torch.device("meta"):
        return Qwen2_5OmniThinkerForConditionalGeneration(config)


def part(model, name):
    """A part of the thinker by name; where it stands depends on the version of transformers."""
    (found,) = [module for path, module in model.model.named_modules() if path.split(".")[-1] == name]
    return found


class TestQwen25Omni(FamilyChecks):
    """Chunks of the tiny encoder are 0.5 s: every clip but one has several."""

    write = staticmethod(write_qwen2_5_omni)
    keys = "qwen2_5_omni.txt"
    never_loaded = ("talker.", "token2wav.")

    def official_model(self):
        return released("7B")

    def official_inputs(self, model, requests):
        """As the official processor does it: the folder's chat template, features padded to the full length."""
        template = json.loads((self.place(model) / "chat_template.json").read_text())["chat_template"]
        clips = [request.audio for request in requests if request.audio is not None]
        inputs, counts = {}, [0] * len(requests)
        if clips:
            extractor = model.processor.feature_extractor
            sounds = extractor(clips, sampling_rate=16_000, padding="max_length", return_attention_mask=True,
                               return_tensors="pt")  # fmt: skip
            mask = sounds["attention_mask"]
            inputs = {"input_features": sounds["input_features"], "feature_attention_mask": mask}
            _, lengths = part(model, "audio_tower")._get_feat_extract_output_lengths(mask.sum(-1))
            counts = lengths.tolist()
        texts = []
        for request, count in zip(requests, counts, strict=True):
            turn = [{"type": "audio"}] if request.audio is not None else []
            chat = [{"role": "user", "content": [*turn, {"type": "text", "text": request.text}]}]
            text = model.tokenizer.apply_chat_template(
                chat, chat_template=template, add_generation_prompt=True, tokenize=False
            )
            texts.append(text.replace("<|AUDIO|>", "<|AUDIO|>" * count))
        return inputs | dict(model.tokenizer(texts, padding=True, padding_side="left", return_tensors="pt"))

    def place(self, model):
        return Path(model.info.id)

    # The thinker alone.

    def test_the_3b_size_has_the_same_names(self):
        names = [
            name.replace("thinker.model.layers.27.", "thinker.model.layers.35.") for name in official_names(self.keys)
        ]
        model = released("3B")
        inside = names_in_memory(model, names)
        assert without_numbers(inside.values()) == without_numbers(model.state_dict())

    def test_talker_and_vocoder_are_in_the_folder_and_never_loaded(self, folder, model, monkeypatch):
        def refuse(*_, **__):
            raise AssertionError("a pickle was opened")

        monkeypatch.setattr(torch, "load", refuse)
        index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        assert {name.split(".")[0] for name in index} == {"thinker", "talker", "token2wav"}
        assert (folder / "spk_dict.pt").is_file()
        loaded = load_model(folder)
        assert type(loaded.model).__name__ == "Qwen2_5OmniThinkerForConditionalGeneration"
        assert not any("talker" in name or "token2wav" in name for name, _ in loaded.model.named_modules())

    def test_loading_is_silent_about_the_talker(self, folder, caplog, monkeypatch):
        from transformers.utils.logging import warning_once

        monkeypatch.setattr(logging.getLogger("transformers"), "propagate", True)
        warning_once.cache_clear()
        Qwen2_5OmniConfig.from_pretrained(folder)
        assert "tts_text_start_token_id" in caplog.text
        caplog.clear()
        warning_once.cache_clear()
        load_model(folder)
        assert "token_id" not in caplog.text

    def test_a_thinker_saved_alone_answers_alike(self, folder, model, prepared, tmp_path):
        alone = write_thinker(tmp_path / "thinker", folder)
        assert json.loads((alone / "config.json").read_text())["model_type"] == "qwen2_5_omni_thinker"
        other = load_model(alone)
        assert other.info.family == model.info.family == "qwen2_5_omni"
        assert torch.equal(other.next_logits(prepared), model.next_logits(prepared))
        for place in (folder, alone):
            card = look_up(str(place))
            assert (card.layers, card.width) == (LAYERS, WIDTH)

    def test_a_model_that_the_user_has_loaded(self, folder, model, requests_, prepared):
        whole = Qwen2_5OmniForConditionalGeneration(Qwen2_5OmniConfig.from_pretrained(folder))
        whole.thinker.load_state_dict(model.model.state_dict())
        for loaded in (whole, model.model):
            wrapped = wrap(loaded, model.processor, id=model.info.id)
            assert bool(wrapped.sources) is (loaded is model.model)  # the other was not loaded from files
            assert compare(wrapped.sources, full=True).differ == []
            assert torch.equal(wrapped.next_logits(wrapped.prepare(requests_)), model.next_logits(prepared))

    def test_the_vision_tower_is_never_touched(self, model, requests_):
        ran = []
        assert not any("visual" in site.name or "audio" in site.name for site in model.decoder.sites)
        towers = {"visual": part(model, "visual"), "audio": part(model, "audio_tower")}
        handles = [m.register_forward_hook(lambda *_, n=n: ran.append(n)) for n, m in towers.items()]
        try:
            rows = model.prepare(requests_)
            assert ran == ["audio"]
            model.score(rows)
            model.generate(rows, max_new_tokens=3)
            assert ran == ["audio"]
            model.full_logits(requests_)
            assert ran == ["audio", "audio"]
        finally:
            for handle in handles:
                handle.remove()

    def test_the_stored_dtype_is_found_inside_the_thinker(self, folder):
        config = json.loads((folder / "config.json").read_text())
        assert config.pop("torch_dtype") == "bfloat16"
        config["thinker_config"]["text_config"]["torch_dtype"] = "float16"
        # on an accelerator a model keeps the dtype in which it was stored
        assert _dtype("auto", torch.device("cuda"), config) == torch.float16

    # Positions.

    def test_positions_are_the_official_ones(self, model, requests_, prepared):
        for request, row in zip(requests_, prepared, strict=True):
            inputs = self.official_inputs(model, [request])
            positions, deltas = model.model.get_rope_index(
                inputs["input_ids"],
                attention_mask=inputs["attention_mask"],
                audio_seqlens=inputs["feature_attention_mask"].sum(-1),
            )
            assert torch.equal(row.position_ids, positions[:, 0])
            assert deltas.abs().max() == 0

    def test_what_the_model_remembers_of_another_prompt_does_not_matter(self, model, requests_, prepared):
        seen = []
        rotary = model.decoder.backbone.rotary_emb
        handle = rotary.register_forward_pre_hook(lambda _, args: seen.append(args[1].clone()))
        try:
            first = model.next_logits(prepared)
            tokens = model.write(prepared, max_new_tokens=4)[0]
            before, seen[:] = [*seen], []
            # the official generate leaves the offsets of its own prompts behind
            self.official_tokens(model, requests_[1], 3)
            (holder,) = [m for m in model.model.modules() if getattr(m, "rope_deltas", None) is not None]
            holder.rope_deltas = torch.full((1, 1), 17)
            seen.clear()
            assert torch.equal(model.next_logits(prepared), first)
            assert torch.equal(model.write(prepared, max_new_tokens=4)[0], tokens)
        finally:
            handle.remove()
            holder.rope_deltas = None
        assert len(seen) == len(before) == 5
        assert all(torch.equal(a, b) for a, b in zip(seen, before, strict=True))
        lengths = torch.tensor([len(row) for row in prepared])
        for step, positions in enumerate(seen[2:]):
            assert torch.equal(positions[..., 0], (lengths + step).expand(3, -1))

    # Its own input assembly.

    def test_cheap_padding_leaves_every_valid_mel_frame_as_it_is(self, model):
        extractor = model.processor.feature_extractor
        clips = [sound(1, 0)[:length] for length in (15_999, 16_000, 8_007, 1_601, 12_345)]
        clips.append(sound(LONGEST_S, 1))
        for chosen in (clips[:5], clips[1:3], clips):
            cheap, mask = model._features(chosen, max(len(clip) for clip in chosen) + SILENCE)
            full, full_mask = model._features(chosen, extractor.n_samples)
            assert cheap.shape[-1] <= full.shape[-1]
            assert mask.sum(-1).tolist() == full_mask.sum(-1).tolist()
            for row, frames in enumerate(mask.sum(-1).tolist()):
                assert torch.equal(cheap[row, :, :frames], full[row, :, :frames])
        # without the silence the last frame of the longest clip would be another
        short, mask = model._features([clips[1]], len(clips[1]))
        full, _ = model._features([clips[1]], extractor.n_samples)
        frames = int(mask.sum())
        assert not torch.equal(short[0, :, frames - 1], full[0, :, frames - 1])

    def test_a_clip_that_is_too_long_is_refused(self, model):
        exact = model.prepare([Request(sound(LONGEST_S), QUESTION, ("A",))])
        assert int((exact[0].scopes == 0).sum()) == 25 * LONGEST_S
        with pytest.raises(ValueError, match=rf"4\.5 s is longer than the {LONGEST_S} s"):
            model.prepare([Request(sound(LONGEST_S + 0.5), QUESTION, ("A",))])

    def test_the_tokenizer_is_of_the_released_class(self, folder, model):
        assert {"vocab.json", "merges.txt", "tokenizer.json"} <= {file.name for file in folder.iterdir()}
        assert type(model.tokenizer).__name__.startswith("Qwen2Tokenizer")

    def test_neither_template_nor_processor_file_is_needed(self, folder, model, prepared, tmp_path):
        bare = shutil.copytree(folder, tmp_path / "bare")
        for name in ("chat_template.json", "spk_dict.pt", "generation_config.json"):
            (bare / name).unlink()
        assert torch.equal(load_model(bare).next_logits(prepared), model.next_logits(prepared))
