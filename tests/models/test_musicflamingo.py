"""Music Flamingo: what every family must show, its marks, its times and its windows."""

from __future__ import annotations

import math

import pytest
import torch
from transformers import MusicFlamingoConfig, MusicFlamingoForConditionalGeneration

from emoscope.models.audio_lm import Request
from tests.helpers.noise import close_sound
from tests.helpers.tiny_families import LONGEST, MUSICAL, write_musicflamingo
from tests.models import test_audioflamingo3 as af3
from tests.models.family_checks import QUESTION, FamilyChecks, sound

LONGEST_S = LONGEST["musicflamingo"]


class TestMusicFlamingo(FamilyChecks):
    """The encoder's window is 1 s in the tiny checkpoint: one clip needs three."""

    write = staticmethod(write_musicflamingo)
    keys = "musicflamingo.txt"
    shortens = True
    official_inputs = af3.TestAudioFlamingo3.official_inputs

    def official_model(self):
        with torch.device("meta"):
            return MusicFlamingoForConditionalGeneration(MusicFlamingoConfig(**af3.RELEASED))

    def test_the_prompt_has_the_system_prompt_and_the_marks(self, model, requests_, prepared):
        ids = model.tokens(requests_[0].text, int((prepared[0].scopes == 0).sum()))
        text = model.tokenizer.decode(ids)
        assert MUSICAL in text
        assert text.count("<|sound_bos|><sound>") == text.count("<sound><|sound_eos|>") == 1
        assert "sound" not in model.tokenizer.decode(model.tokens(requests_[0].text, 0)).replace(MUSICAL, "")
        official = self.official_inputs(model, requests_[:1])["input_ids"][0]
        assert ids == official.tolist()

    def test_the_computed_times_survive_loading(self, model):
        # they stand in no file, and the official forward would agree with wrong ones
        embedding = model.model.model.pos_emb
        assert embedding.inv_freq.isfinite().all()
        expected = torch.arange(1200) / 1200 * (2 * math.pi)
        assert torch.allclose(embedding.position_angles[:, 0], expected * embedding.inv_freq[0], atol=1e-6)
        size = 2 * len(embedding.inv_freq)
        exponents = torch.arange(0, size, 2) / size
        assert torch.allclose(embedding.inv_freq, 1200.0**-exponents, atol=1e-6)

    def test_the_same_sound_later_is_another_embedding(self, model):
        second = sound(1.0)
        heard = model.hear([torch.cat([torch.from_numpy(second)] * 3).numpy()])[0].view(3, 25, -1)
        assert (heard[0] - heard[1]).abs().max() > 1e-3
        assert (heard[1] - heard[2]).abs().max() > 1e-3

    @pytest.mark.parametrize("extra", [0, 1, 160, 320, 321])
    def test_a_very_short_end_changes_nothing_for_other_clips(self, model, extra):
        whole = sound(1.1, 3)[: 16_000 + extra]
        beside = sound(1.7, 4)
        first, second = model.hear([whole, beside])
        assert len(first) == (25 if extra < 321 else 26)
        close = close_sound(model, [Request(clip, QUESTION, ("A",)) for clip in (whole, beside)])
        assert (second - model.hear([beside])[0]).abs().max() < close
        assert (first - model.hear([whole])[0]).abs().max() < close

    def test_a_clip_that_is_too_long_is_refused(self, model):
        (row,) = model.prepare([Request(sound(LONGEST_S), QUESTION, ("A",))])
        assert int((row.scopes == 0).sum()) == 25 * LONGEST_S
        with pytest.raises(ValueError, match=rf"5\.5 s is longer than the {LONGEST_S} s"):
            model.prepare([Request(sound(LONGEST_S + 0.5), QUESTION, ("A",))])
