from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import soundfile
from rich.console import Console

from emoscope.corpora import Clip, Corpus, CorpusInfo, Lost, open_corpus
from emoscope.corpora.check import (
    inspect_files,
    print_summary,
    shown_progress,
    unusable_because,
    warnings_of,
)


@pytest.fixture
def folder(tmp_path: Path, sound) -> Path:
    sound(tmp_path / "anger" / "good.wav", seconds=0.5, seed=1)
    sound(tmp_path / "anger" / "stereo.wav", seconds=0.25, rate=44_100, channels=2, seed=2)
    sound(tmp_path / "fear" / "same as good.wav", seconds=0.5, seed=1)
    sound(tmp_path / "fear" / "short.wav", seconds=0.01)
    soundfile.write(tmp_path / "fear" / "silent.wav", np.zeros(8000), 16_000)
    (tmp_path / "fear" / "empty.wav").touch()
    (tmp_path / "fear" / "broken.mp3").write_bytes(b"no sound at all" * 9)
    sound(tmp_path / "irony" / "1.wav")
    return tmp_path


def test_check_quarantines_what_cannot_be_heard(folder: Path) -> None:
    seen: list[tuple[int, int]] = []
    opened = open_corpus(folder)
    checked = opened.check(lambda done, total: seen.append((done, total)))
    assert [clip.id for clip in checked] == ["anger/good", "anger/stereo"]
    quarantined = {lost.id: lost.why for lost in checked.lost if lost.status == "quarantined"}
    assert quarantined.pop("fear/broken").startswith("not readable as audio")
    assert quarantined == {
        "fear/empty": "file is empty",
        "fear/short": "too short (0.010 s; at least 0.1 s are needed)",
        "fear/silent": "silent (no sample above -80 dB of full scale)",
    }
    assert seen == [(i, 7) for i in range(1, 8)]
    assert len(checked) + len(checked.lost) == len(opened) + len(opened.lost) == 8


def test_a_file_that_went_away_is_quarantined(folder: Path) -> None:
    corpus = open_corpus(folder)
    (folder / "anger" / "good.wav").unlink()
    lost = {one.id: one.why for one in corpus.check().lost}
    assert lost["anger/good"] == "file not found"


def test_a_recording_under_two_names_is_used_once_and_told(folder: Path) -> None:
    corpus = open_corpus(folder)
    assert inspect_files(corpus).duplicates == (("anger/good", "fear/same as good"),)
    lost = {one.id: (one.status, one.why) for one in corpus.check().lost}
    assert lost["fear/same as good"] == ("excluded", "same recording (as anger/good, emotion anger)")
    assert "1 clip of the same content as another one: each recording is used once" in warnings_of(
        open_corpus(folder).summary()
    )


def test_two_takes_of_a_published_corpus_with_the_same_sound_stay_in_use(tmp_path: Path, sound) -> None:
    for name in ("m1.a_nie_1", "m1.a_nie_2", "m1.n_nie_1", "m2.n_nie_1"):
        sound(tmp_path / f"{name}.wav", seed=7)
    facts = open_corpus("polish", tmp_path).summary()
    assert (facts["used"], facts["reasons"]["excluded"]) == (2, {"same recording": 2})
    assert "1 clip of the same content as another take of the speaker, used as released" in warnings_of(facts)


def test_channels_that_cancel_are_told_with_the_first_of_them(tmp_path: Path) -> None:
    tone = 0.1 * np.sin(np.arange(8_000))
    for emotion in ("anger", "fear"):
        (tmp_path / emotion).mkdir()
        soundfile.write(tmp_path / emotion / "1.wav", np.stack([tone, -tone * len(emotion) / 5], axis=1), 16_000)
    facts = open_corpus(tmp_path).summary()
    assert facts["told"][-1:] == [
        "2 clips (such as anger/1): its channels cancel each other: the louder one is heard alone"
    ]


def test_damage_in_the_middle_of_a_file_is_found(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for name in ("anger", "fear"):
        (tmp_path / name).mkdir()
        soundfile.write(tmp_path / name / "1.flac", rng.normal(0, 0.1, 64_000), 16_000)
    damaged = bytearray((tmp_path / "anger" / "1.flac").read_bytes())
    damaged[len(damaged) // 2 : len(damaged) // 2 + 2000] = bytes(2000)
    (tmp_path / "anger" / "1.flac").write_bytes(bytes(damaged))
    corpus = open_corpus(tmp_path)
    assert [lost.id for lost in corpus.check().lost] == ["anger/1"]


def test_summary_is_plain_and_adds_up(folder: Path) -> None:
    facts = json.loads(json.dumps(open_corpus(folder).summary()))
    assert facts["clips"] == facts["used"] + facts["excluded"] + facts["quarantined"] == 8
    assert (facts["used"], facts["excluded"], facts["quarantined"]) == (2, 2, 4)
    assert facts["by_emotion"] == {"anger": 2}
    assert facts["by_speaker"] == facts["by_split"] == {}
    assert (facts["excluded_by_label"], facts["excluded_otherwise"]) == (1, 1)
    assert facts["durations"] == {"total": 0.75, "shortest": 0.25, "median": 0.375, "longest": 0.5}
    assert facts["sample_rates"] == {"16000": 1, "44100": 1}
    assert facts["channels"] == {"1": 1, "2": 1}
    assert facts["duplicates"] == [["anger/good", "fear/same as good"]]
    assert sum(facts["reasons"]["quarantined"].values()) == 4
    assert sum(facts["reasons"]["excluded"].values()) == 2
    assert facts["reasons"]["quarantined"]["too short"] == 1
    assert ["fear/empty", "file is empty"] in facts["unusable"]


def test_summary_of_a_part_names_no_difference_and_of_an_incomplete_copy_does(tmp_path: Path, sound) -> None:
    part = open_corpus("polish").where({"word": "stop", "take": 1})
    assert part.summary()["differences"] == []
    sound(tmp_path / "m1.a_nie_1.wav")
    differences = open_corpus("polish", tmp_path).summary()["differences"]
    assert ["clips", 450, 1] in differences
    assert ["speakers", 5, 1] in differences
    facts = open_corpus("polish", tmp_path).summary()
    assert facts["expected"]["clips"] == {"expected": 450, "found": 1}
    assert facts["missing"] == ["fear", "neutral"]
    assert {"a complete copy holds 150 clips of fear, found 0", "no clip of fear can be used"} <= set(
        warnings_of(facts)
    )
    assert "only anger is left" in str(unusable_because(facts))


def test_every_clip_is_used_excluded_by_label_or_otherwise_or_quarantined(tmp_path: Path, sound) -> None:
    made = [
        sound(tmp_path / emotion / f"{emotion}{n}.wav")
        for emotion in ("anger", "fear", "calm", "irony")
        for n in (1, 2)
    ]
    sound(tmp_path / "unsorted.wav")
    (tmp_path / "fear" / "fear2.wav").write_bytes(b"")
    corpus = open_corpus(tmp_path).keep(["anger", "fear"])
    facts = corpus.summary()
    parts = [facts[name] for name in ("used", "excluded_by_label", "excluded_otherwise", "quarantined")]
    assert parts == [3, 4, 1, 1]
    assert sum(parts) == facts["clips"] == len(made) + 1
    statuses = corpus.check().to_frame()["status"].value_counts()
    assert dict(statuses.iter_rows()) == {"used": 3, "excluded": 5, "quarantined": 1}


def test_languages_are_counted() -> None:
    assert open_corpus("polish").summary()["by_language"] == {"Polish": 450}
    clips = tuple(
        Clip(name, Path("no.wav"), {"emotion": "anger", "language": language})
        for name, language in (("a", "English"), ("b", "Chinese"))
    )
    # languages are counted over the clips in use; these have no file
    assert Corpus(CorpusInfo("x", "x"), clips).counts("language") == {"Chinese": 1, "English": 1}
    assert Corpus(CorpusInfo("x", "x"), clips).summary()["by_language"] == {}


def test_reasons_about_labels_are_told_from_others() -> None:
    clip = Clip("x", Path("x.wav"), {"emotion": "anger"})
    for why in ("label calm is not asked", "no majority among the raters (xxx)", "labelled other (oth)"):
        assert Lost("x", clip.path, "excluded", why, clip).by_label
    for why in ("second copy (of y.wav)", "row 3 repeats this clip", "where take = [1]"):
        assert not Lost("x", clip.path, "excluded", why, clip).by_label
    assert Lost("x", clip.path, "excluded", "emotion 'x' is not known", Clip("x", clip.path, {})).by_label
    assert not Lost("x", clip.path, "quarantined", "no sound", clip).by_label


def test_summary_prints(folder: Path) -> None:
    console = Console(file=io.StringIO(), width=120)
    print_summary(open_corpus(folder).summary(), console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    for expected in (
        "8 clips: 2 used, 2 excluded (1 by label), 4 quarantined", "cannot be heard: fear/empty: file is empty", "same content: anger/good, fear/same as good",
        "16000 Hz (1)", "quarantined because", "warning: 4 clips cannot be heard", "Cannot be used: only anger is left",
    ):  # fmt: skip
        assert expected in text
    assert text.count("no clip has a speaker") == 1  # a note is no warning as well


def test_long_tables_are_cut_but_counted() -> None:
    console = Console(file=io.StringIO(), width=120)
    facts = open_corpus("polish").where({"word": "nie", "take": 1}).summary()
    facts["by_speaker"] = {f"p{i}": 2 for i in range(50)}
    print_summary(facts, console)
    text = console.file.getvalue()  # type: ignore[attr-defined]
    assert "and 20 more" in text
    assert "40" in text


def test_nothing_used_can_be_summarised(folder: Path) -> None:
    corpus = (
        open_corpus(folder).where({"emotion": "fear"}).lose("excluded", {"fear/same as good": "not wanted"}).check()
    )
    facts = corpus.summary()
    assert (facts["used"], facts["durations"]) == (0, {})
    assert unusable_because(facts) == "no clip is left (4 excluded, 4 quarantined)"
    print_summary(facts, Console(file=io.StringIO()))


def test_progress_is_shown() -> None:
    console = Console(file=io.StringIO(), width=80, force_terminal=True)
    with shown_progress("Checking", console) as progress:
        progress(3, 10)
    assert "Checking" in console.file.getvalue()  # type: ignore[attr-defined]


def test_real_corpora_can_be_heard(real_data: Path) -> None:
    # the first speaker of each is enough here; `emoscope corpus check` reads all
    for name, speaker in (("emogator", "1"), ("ravdess", "1")):
        corpus = open_corpus(name, real_data / name).where({"speaker": f"{speaker}-{speaker}"})
        assert corpus.summary()["quarantined"] == 0
