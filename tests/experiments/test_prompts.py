"""What a clip's question is asked about: sound, noise, what is said as text, a transcription, or no clip."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from emoscope.corpora import open_corpus
from emoscope.corpora.audio import AudioError, hear, load_audio
from emoscope.experiments.items import candidate_items
from emoscope.experiments.prompts import asked_text, noise_like, requests, spoken, writes
from emoscope.experiments.schema import QuestionChoice, Study, StudyError
from emoscope.models.registry import load_model
from emoscope.models.values import AUDIO

POLISH = open_corpus("polish").where({"take": 1, "word": ["nie", "stop"]})
ITEM = {
    "item": 4, "clip": "x", "label": "emotion", "options": ["fear", "anger"], "wording": "lettered", "transcript": "Stop",
}  # fmt: skip
ASKED = "Which emotion does the speaker express? (A) fear (B) anger Answer with the letter only."


def study(presentation: str) -> Study:
    return Study(question=QuestionChoice(presentation=presentation))


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


def test_noise_is_as_long_and_as_loud_and_bears_nothing_else_of_the_clip():
    wave = load_audio(POLISH.clips[0].path)
    noise = noise_like(wave)
    assert (noise.shape, noise.dtype) == (wave.shape, np.float32)
    assert abs((noise**2).mean() ** 0.5 - (wave**2).mean() ** 0.5) < 1e-4
    assert abs(np.corrcoef(noise, wave)[0, 1]) < 0.03
    # white: the lower half of the spectrum holds half of the power, and that of the voice nearly all
    share = [
        (power := np.abs(np.fft.rfft(sound)) ** 2)[: len(power) // 2].sum() / power.sum() for sound in (noise, wave)
    ]
    assert share[0] == pytest.approx(0.5, abs=0.03)
    assert share[1] > 0.9


def test_noise_is_the_same_for_a_clip_at_any_time_and_another_for_another_clip():
    one, two = (load_audio(clip.path) for clip in POLISH.clips[:2])
    assert np.array_equal(noise_like(one), noise_like(one.copy()))
    size = min(len(one), len(two))
    assert abs(np.corrcoef(noise_like(one)[:size], noise_like(two)[:size])[0, 1]) < 0.03


def test_the_words_stand_where_the_sound_would():
    assert asked_text(ITEM) == asked_text(ITEM, "noise") == (ASKED, ("A", "B"))
    assert asked_text(ITEM, "transcript", audio_first=True)[0] == f"The speaker says: Stop\n{ASKED}"
    assert asked_text(ITEM, "transcript", audio_first=False)[0] == f"{ASKED}\nThe speaker says: Stop"


def test_a_question_about_no_clip_has_its_own_sentence_and_options():
    item = {**ITEM, "question": "How much is 2 + 2?", "fear": "4", "anger": "5"}
    assert asked_text(item, "text")[0] == "How much is 2 + 2? (A) 4 (B) 5 Answer with the letter only."


@pytest.mark.parametrize("presentation", ["audio", "noise", "transcript", "transcription", "text"])
def test_what_the_model_is_given(model, presentation):
    heard = hear(POLISH.clips[0].path)
    item = {**ITEM, "question": "How much is 2 + 2?", "fear": "4", "anger": "5"}
    sounds = {} if presentation == "text" else {"x": heard}
    (usable,), (asked,), notes = requests(study(presentation), [item], sounds, model)
    assert usable is item
    hears = presentation in ("audio", "noise", "transcription")
    (row,) = model.prepare([asked])
    assert (AUDIO in row.scopes.tolist()) == hears
    assert row.letters == (() if presentation == "transcription" else ("A", "B"))
    assert (notes["duration_s"]["4"] is None) == (presentation == "text")
    if hears:
        assert np.array_equal(asked.audio, heard.samples) == (presentation != "noise")


def test_a_clip_without_usable_sound_is_left_out_of_every_presentation_alike(model):
    for presentation in ("audio", "noise", "transcript", "transcription"):
        usable, asked, notes = requests(study(presentation), [ITEM], {"x": AudioError("x", "silent")}, model)
        assert (usable, asked, notes["quarantined"]) == ([], [], {"4": "silent"})


def test_only_a_transcription_is_written():
    assert [writes(study(one)) for one in ("audio", "noise", "transcript", "text", "transcription")] == [False] * 4 + [
        True
    ]


def test_items_say_what_is_said():
    items = candidate_items(study("audio"), POLISH)
    assert items["transcript"].to_list() == items["word"].to_list()


def test_a_transcription_is_asked_once_whatever_the_wordings_and_orders():
    for presentation, times in (("audio", 6), ("transcript", 6), ("transcription", 1)):
        question = QuestionChoice(wording=("lettered", "listed"), letter_orders=3, presentation=presentation)
        items = candidate_items(Study(question=question), POLISH)
        assert items["status"].null_count() == times * len(POLISH.clips)


@pytest.mark.parametrize("presentation", ["transcript", "transcription"])
def test_clips_whose_words_nobody_knows_are_excluded_there(presentation):
    silent = [replace(clip, labels={"emotion": clip.labels["emotion"]}, transcript=None) for clip in POLISH.clips]
    some = replace(POLISH, clips=(*silent[:9], *POLISH.clips[9:]))
    items = candidate_items(study(presentation), some)
    left_out = items.filter(items["why"] == "no transcript is known")
    assert sorted(left_out["clip"]) == sorted(clip.id for clip in silent[:9])
    assert set(left_out["status"]) == {"excluded"}
    assert items["status"].null_count() == len(some.clips) - 9
    assert candidate_items(study("audio"), some)["status"].null_count() == len(some.clips)
    with pytest.raises(StudyError, match="no clip of corpus 'polish' has a transcript"):
        candidate_items(study(presentation), replace(POLISH, clips=tuple(silent)))


def test_what_is_said_is_the_transcript_then_the_statement_then_the_word():
    clip = replace(POLISH.clips[0], labels={"word": "w", "statement": "s"}, transcript="t")
    assert spoken(clip) == "t"
    assert spoken(replace(clip, transcript=None)) == "s"
    assert spoken(replace(clip, transcript=None, labels={"word": "w"})) == "w"
    assert spoken(replace(clip, transcript=None, labels={})) is None
