"""What a clip's question is asked about: sound, noise, what is said as text, a transcription, or no clip."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoscope.corpora import open_corpus
from emoscope.corpora.audio import AudioError, hear, load_audio
from emoscope.experiments.items import candidate_items
from emoscope.experiments.prompts import DecodeAhead, asked_text, noise_like, requests, spoken, writes
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


@pytest.fixture
def blocks(tmp_path: Path) -> list[list[dict[str, str]]]:
    rng = np.random.default_rng(0)
    made = []
    for n in range(12):
        path = tmp_path / f"{n}.wav"
        soundfile.write(path, rng.normal(0, 0.1, 44_100), 44_100)
        made.append({"clip": f"c{n}", "path": str(path)})
    (tmp_path / "5.wav").write_bytes(b"no sound")
    # a clip whose letter orders fall into two blocks is in both
    return [made[:6], made[5:9], made[9:]]


@pytest.mark.parametrize("most_bytes", [1 << 28, 0])
def test_what_is_handed_out_is_what_loading_gives(blocks: list[list[dict[str, str]]], most_bytes: int) -> None:
    with DecodeAhead("normalised", most_bytes) as ahead:
        for place, block in enumerate(blocks):
            sounds = ahead.take([*block, block[0]])
            if place + 1 < len(blocks):
                ahead.start(blocks[place + 1])
            assert list(sounds) == [item["clip"] for item in block]
            for item in block:
                sound = sounds[item["clip"]]
                if item["clip"] == "c5":
                    assert isinstance(sound, AudioError)
                    assert "not readable as audio" in sound.reason
                else:
                    assert not isinstance(sound, AudioError)
                    wanted = hear(item["path"])
                    assert sound.samples.tobytes() == wanted.samples.tobytes()
                    assert (sound.told, sound.duration_s) == (wanted.told, wanted.duration_s)
        assert not ahead._waiting


def settled(ahead: DecodeAhead) -> None:
    end = time.monotonic() + 300
    while not all(future.done() for future in ahead._waiting.values()) and time.monotonic() < end:
        time.sleep(0.01)


def waiting_bytes(ahead: DecodeAhead, clips: Collection[str] | None = None) -> int:
    found = [future.result() for clip, future in ahead._waiting.items() if clips is None or clip in clips]
    return sum(sound.samples.nbytes for sound in found if sound and not isinstance(sound, AudioError))


def test_a_block_is_decoded_before_it_is_asked_for(blocks: list[list[dict[str, str]]]) -> None:
    with DecodeAhead("as recorded") as ahead:
        ahead.start(blocks[2])
        settled(ahead)
        assert waiting_bytes(ahead) == 3 * 4 * 16_000
        Path(blocks[2][0]["path"]).unlink()
        assert len(ahead.take(blocks[2])["c9"].samples) == 16_000


def test_the_sound_that_waits_is_bounded(blocks: list[list[dict[str, str]]]) -> None:
    with DecodeAhead("as recorded", most_bytes=100_000) as ahead:
        ahead.start([*blocks[1][1:], *blocks[2]])
        settled(ahead)
        # one clip takes 64,000 bytes; each of the two threads may exceed the bound by one
        assert waiting_bytes(ahead) <= 100_000 + 2 * 64_000
        assert all(len(sound.samples) == 16_000 for sound in ahead.take([*blocks[1][1:], *blocks[2]]).values())


def test_a_fault_is_raised_where_its_clip_is_taken(blocks: list[list[dict[str, str]]]) -> None:
    with DecodeAhead("as recorded") as ahead:
        ahead.start([{"clip": "faulty", "path": 5}])  # type: ignore[dict-item]
        settled(ahead)
        ahead.start(blocks[2])
        settled(ahead)
        assert waiting_bytes(ahead, ["c9", "c10", "c11"]) == 3 * 4 * 16_000


def test_a_block_that_is_skipped_is_forgotten(blocks: list[list[dict[str, str]]]) -> None:
    with DecodeAhead("as recorded") as ahead:
        ahead.start(blocks[1])
        settled(ahead)
        ahead.take(blocks[2])
        assert not ahead._waiting


def test_a_stop_does_not_wait_for_the_queue(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.random.default_rng(0).normal(0, 0.1, 44_100 * 20), 44_100)
    futures = {}

    def stopped() -> None:
        with DecodeAhead("as recorded") as ahead:
            ahead.start([{"clip": str(n), "path": str(tmp_path / "a.wav")} for n in range(400)])
            futures.update(ahead._waiting)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stopped()
    # what had not begun never begins
    assert len(futures) == 400
    assert sum(future.cancelled() for future in futures.values()) > 300
