"""Kimi-Audio from a tiny folder in the official layout: both streams, both encoders, the side checkpoint."""

from __future__ import annotations

import json
import math
import shutil

import numpy as np
import pytest
import torch

pytest.importorskip("tiktoken", reason="skipped: the package tiktoken is not installed (the extra kimi)")

from emoscope.models.audio_lm import Request
from emoscope.models.families.kimi_audio import KimiAudio, KimiConfig, KimiDecoder
from emoscope.models.registry import load_model, wrap
from tests.helpers.noise import MANY, noise
from tests.helpers.tiny_families import LAYERS
from tests.helpers.tiny_kimi import TEXT_TOKENS, TOKENIZER, WINDOW_S, raw_config, write_kimi
from tests.models.family_checks import QUESTION, FamilyChecks, sound
from tests.models.official_keys import official_names, without_numbers

RELEASED = {
    "hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 168448, "kimia_adaptor_input_dim": 5120, "pad_token_id": 152063,
    "kimia_text_output_vocab": 152064, "kimia_token_offset": 152064, "kimia_mimo_layers": 6,
}  # fmt: skip
"""Sizes in the config.json of the released model, where they differ from the tiny one's."""


def prompt(model, request):
    """Both streams and the mask as the official prompt manager writes them, message by message, and the features."""
    name = model.processor.tokenizer.special
    blank = name["<|im_kimia_text_blank|>"]
    audio, text, masked, features = [name["<|im_kimia_user_msg_start|>"]], [blank], [False], None
    question = model.processor.tokenizer.encode(request.text)
    audio, text, masked = audio + [blank] * len(question), text + question, masked + [False] * len(question)
    if request.audio is not None:
        (codes,), (features,) = model.processor.codes([request.audio]), model.processor.features([request.audio])
        codes = (codes + model.model.config.kimia_token_offset).tolist()
        audio += [name["<|im_media_begin|>"], *codes, name["<|im_media_end|>"], name["<|im_kimia_speech_ct_id|>"]]
        text += [blank] * (len(codes) + 3)
        masked += [False, *[True] * len(codes), False, False]
    audio += [name["<|im_msg_end|>"], name["<|im_kimia_assistant_msg_start|>"]]
    return torch.tensor(audio), torch.tensor(text + [blank] * 2), torch.tensor([*masked, False, False]), features


class TestKimiAudio(FamilyChecks):
    write = staticmethod(write_kimi)
    keys = "kimi_audio.txt"

    def left_out(self, name):
        return "mimo_" in name or "inv_freq" in name

    def official_model(self):
        with torch.device("meta"):
            return KimiDecoder(KimiConfig.from_raw(raw_config() | RELEASED, "released"))

    def official_inputs(self, model, requests):
        with torch.inference_mode():
            rows = [model.model.merge(*prompt(model, request)) for request in requests]
        longest = max(map(len, rows))
        padded = [torch.cat([row.new_zeros(longest - len(row), row.shape[1]), row]) for row in rows]
        mask = [[0] * (longest - len(row)) + [1] * len(row) for row in rows]
        return {"inputs_embeds": torch.stack(padded), "attention_mask": torch.tensor(mask)}

    def official_logits(self, model, requests):
        return super().official_logits(model, requests)[:, :TEXT_TOKENS]

    def official_tokens(self, model, request, steps):
        """As the official loop: each token goes to the text stream, a blank to the audio stream, all computed anew."""
        audio, text, masked, features = prompt(model, request)
        blank, written = model.audio_token, []
        with torch.inference_mode():
            while len(written) < steps:
                merged = model.model.merge(audio, text, masked, features)
                written.append(int(model.model(inputs_embeds=merged[None]).logits[0, -1, :TEXT_TOKENS].argmax()))
                if written[-1] == model.tokenizer.special["<|im_kimia_text_eos|>"]:
                    break
                audio = torch.cat([audio, torch.tensor([blank])])
                text = torch.cat([text, torch.tensor(written[-1:])])
                masked = torch.cat([masked, torch.tensor([False])])
        return written

    def save(self, model, folder, target):
        super().save(model, folder, target)
        shutil.copytree(folder / "whisper-large-v3", target / "whisper-large-v3")
        shutil.copytree(folder.parent / TOKENIZER, target / TOKENIZER)

    def test_text_with_the_audio_token_is_refused(self, model):
        # markers in a text are ordinary characters to the official tokenizer: there is nothing to refuse
        marked = "a <|im_kimia_text_blank|> b <|im_media_begin|>"
        (row,) = model.prepare([Request(sound(0.5), marked, ("A",))])
        assert int((row.scopes == 0).sum()) == len(model.hear([sound(0.5)])[0])
        assert not set(model.tokenizer.encode(marked)) & set(model.tokenizer.all_special_ids)

    def test_the_tiny_folder_is_laid_out_like_the_released_one(self, folder):
        # all names count here, also those of what is not loaded
        index = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
        assert without_numbers(index) == without_numbers(official_names(self.keys))
        assert set(index.values()) == {f"model-{i}-of-6.safetensors" for i in range(1, 7)} | {
            "model-7-of-7.safetensors"
        }
        assert set(index.values()) == {shard.name for shard in folder.glob("*.safetensors")}

    def test_the_list_of_names_has_the_size_of_the_released_files(self):
        names = official_names(self.keys)
        assert (len(names), sum(2 * math.prod(shape) for shape in names.values())) == (453, 19_532_673_280)

    def test_audio_positions_are_the_masked_ones(self, model, requests_, prepared):
        for request, row in zip(requests_, prepared, strict=True):
            _, _, masked, _ = prompt(model, request)
            assert torch.equal(row.scopes == 0, masked)

    def test_the_question_stands_first_and_the_sound_last(self, model):
        shown = model.tokenizer.decode(model.tokens("Say A.", 2))
        blank = "<|im_kimia_text_blank|>"
        assert shown == (
            f"<|im_kimia_user_msg_start|>Say A.<|im_media_begin|>{blank}{blank}<|im_media_end|><|im_kimia_speech_ct_id|>"
            "<|im_msg_end|><|im_kimia_assistant_msg_start|>"
        )
        assert model.tokenizer.decode(model.tokens("Say A.", 0)) == (
            "<|im_kimia_user_msg_start|>Say A.<|im_msg_end|><|im_kimia_assistant_msg_start|>"
        )

    @pytest.mark.parametrize(
        ("samples", "positions"), [(1, 1), (1280, 1), (1281, 2), (32_000, 25), (32_001, 26), (70_000, 55)]
    )
    def test_a_position_is_80_ms_across_windows(self, model, samples, positions):
        assert WINDOW_S * 16_000 == 32_000
        (heard,) = model.hear([sound(5, 0)[:samples]])
        assert len(heard) == positions

    def test_features_are_the_first_frames_of_each_filled_window(self, model):
        """Piece by piece as the official code: fill with silence, encode the whole window, keep what is heard."""
        clip, window, expected = sound(2.4, 4), WINDOW_S * 16_000, []
        for piece in (clip[:window], clip[window:]):
            filled = np.zeros(window, np.float32)
            filled[: len(piece)] = piece
            mel = model.processor.mel([filled], sampling_rate=16_000, return_tensors="pt")["input_features"]
            with torch.inference_mode():
                (states,) = model.processor.whisper(mel).last_hidden_state
            for position in range((len(piece) - 1) // 1280 + 1):
                expected.append(torch.cat(list(states[4 * position : 4 * position + 4])))
        requests = [Request(one, QUESTION, ("A",)) for one in (sound(0.7), clip)]
        close = MANY * noise(lambda some: model.processor.features([one.audio for one in some]), requests)
        assert (model.processor.features([sound(0.7), clip])[1] - torch.stack(expected)).abs().max() < close

    def test_both_ways_of_hearing_matter(self, model, monkeypatch):
        (clip,) = model.hear([sound(1.0)])
        plain = model.processor.codes([sound(1.0)])
        other = [(codes + 1) % 24 for codes in plain]
        monkeypatch.setattr(type(model.processor.codes), "forward", lambda self, clips: other)
        assert (model.hear([sound(1.0)])[0] - clip).abs().amax(1).min() > 1e-3
        monkeypatch.undo()
        features = model.processor.features([sound(1.0)])
        monkeypatch.setattr(type(model.processor), "features", lambda self, clips: [features[0] * 1.5])
        assert (model.hear([sound(1.0)])[0] - clip).abs().amax(1).min() > 1e-3

    def test_only_text_is_written(self, folder, prepared):
        loud = load_model(folder)
        loud.model.lm_head.weight.data[TEXT_TOKENS:] *= 100
        assert loud.next_logits(prepared).shape[1] == loud.info.vocab == TEXT_TOKENS
        tokens, _ = loud.write(prepared, max_new_tokens=4)
        assert int(tokens.max()) < TEXT_TOKENS

    def test_an_answer_ends_with_the_text_and_not_with_the_message(self, model):
        assert model.stop_tokens.tolist() == [model.tokenizer.special["<|im_kimia_text_eos|>"]]

    def test_stored_frequencies_are_not_read(self, model):
        found = model.model.model.rotary_emb.inv_freq
        assert torch.allclose(found, 1e6 ** -(torch.arange(0, 8, 2) / 8))

    def test_both_encoders_are_left_alone(self, model):
        assert {site.name for site in model.decoder.sites} == {f"model.layers.{i}.mlp" for i in range(LAYERS)}
        assert not any(
            p.requires_grad for part in (model.processor.codes, model.processor.whisper) for p in part.parameters()
        )

    def test_what_the_released_model_was_trained_on(self):
        assert KimiAudio.exposure["ravdess"][0] == KimiAudio.exposure["iemocap"][0] == "yes"
        assert KimiAudio.exposure["crema-d"][0] == "unknown"
        assert all("table 1" in source for _, source in KimiAudio.exposure.values())

    def test_fewer_bits(self, folder):
        half = load_model(folder, dtype="bfloat16")
        assert half.processor.codes.encoder.conv1.weight.dtype == torch.float32
        assert half.processor.whisper.conv1.weight.dtype == torch.bfloat16

    def test_wrap(self, model, prepared):
        assert torch.equal(wrap(model.model, model.processor).next_logits(prepared), model.next_logits(prepared))
