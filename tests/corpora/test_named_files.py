from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.corpora import open_corpus
from emoscope.corpora.named_files import GRAMMARS


@pytest.mark.parametrize("corpus", GRAMMARS)
def test_the_example_follows_its_grammar(corpus: str) -> None:
    clip = GRAMMARS[corpus].read(Path(GRAMMARS[corpus].example + ".wav"))
    assert clip is not None
    assert next(iter(clip.labels)) == "emotion"


@pytest.mark.parametrize(
    ("corpus", "name", "speaker", "transcript", "labels"),
    [
        ("polish", "m1.a_nie_2", "m1", "nie", {"emotion": "anger", "word": "nie", "take": "2"}),
        ("polish", "m5.s_trzymaj_1", "m5", "trzymaj", {"emotion": "fear", "word": "trzymaj", "take": "1"}),
        ("polish", "m3.n_tak_5", "m3", "tak", {"emotion": "neutral", "word": "tak", "take": "5"}),
        (
            "ravdess", "03-01-08-02-02-01-12", "12", "Dogs are sitting by the door",
            {"emotion": "surprise", "modality": "audio only", "channel": "speech", "intensity": "strong",
             "statement": "Dogs are sitting by the door", "take": "1", "gender": "female"},
        ),
        (
            "ravdess", "03-02-02-01-01-02-07", "07", "Kids are talking by the door",
            {"emotion": "calm", "modality": "audio only", "channel": "song", "intensity": "normal",
             "statement": "Kids are talking by the door", "take": "2", "gender": "male"},
        ),
        ("emogator", "000226-24-3", "000226", None, {"emotion": "sadness", "take": "3"}),
        ("emogator", "000001-27-1", "000001", None, {"emotion": "negative surprise", "take": "1"}),
        ("emogator", "000001-28-1", "000001", None, {"emotion": "surprise", "take": "1"}),
        (
            "crema-d", "1001_DFA_ANG_XX", "1001", "Don't forget a jacket",
            {"emotion": "anger", "statement": "Don't forget a jacket", "intensity": "unspecified"},
        ),
        (
            "crema-d", "1091_IEO_SAD_HI", "1091", "It's eleven o'clock",
            {"emotion": "sadness", "statement": "It's eleven o'clock", "intensity": "high"},
        ),
        (
            "emodb", "03a01Fa", "03", "Der Lappen liegt auf dem Eisschrank",
            {"emotion": "happiness", "statement": "Der Lappen liegt auf dem Eisschrank", "take": "a", "gender": "male"},
        ),
        (
            "emodb", "16b10Lb", "16", "Die wird auf dem Platz sein, wo wir sie immer hinlegen",
            {"emotion": "boredom", "statement": "Die wird auf dem Platz sein, wo wir sie immer hinlegen", "take": "b",
             "gender": "female"},
        ),
    ],
)  # fmt: skip
def test_names_are_read(corpus: str, name: str, speaker: str, transcript: str | None, labels: dict[str, str]) -> None:
    clip = GRAMMARS[corpus].read(Path(f"some/{name}.wav"))
    assert clip is not None
    assert (clip.id, clip.speaker, clip.transcript, clip.labels) == (name, speaker, transcript, labels)


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("polish", "m1.x_nie_2"), ("polish", "m1_a_nie_2"), ("ravdess", "03-01-09-01-01-01-01"), ("ravdess", "03-01-05"),
        ("ravdess", "03-01-05-01-01-01-01 (1)"), ("emogator", "000001-31-1"), ("emogator", "000001-00-1"),
        ("crema-d", "1001_DFA_SUR_XX"), ("crema-d", "1001_QQQ_ANG_XX"), ("emodb", "03a01Xa"), ("emodb", "03c01Fa"),
    ],
)  # fmt: skip
def test_other_names_do_not_follow(corpus: str, name: str) -> None:
    assert GRAMMARS[corpus].read(Path(name + ".wav")) is None


def test_a_tree_with_strays_doubles_and_others(tmp_path: Path, sound) -> None:
    sound(tmp_path / "Actor_01" / "03-01-05-01-01-01-01.wav")
    sound(tmp_path / "Actor_02" / "03-01-01-01-01-01-02.WAV")
    sound(tmp_path / "audio_speech_actors_01-24" / "Actor_01" / "03-01-05-01-01-01-01.wav")
    (tmp_path / "Actor_01" / "._03-01-05-01-01-01-01.wav").write_bytes(b"\0")
    sound(tmp_path / "Actor_01" / "my recording.wav")
    (tmp_path / "README.txt").write_text("not a clip")
    corpus = open_corpus("ravdess", tmp_path)
    assert [clip.id for clip in corpus] == ["03-01-05-01-01-01-01", "03-01-01-01-01-01-02"]
    assert {lost.path.name + " " + lost.path.parent.parent.name: lost.why for lost in corpus.lost} == {
        "._03-01-05-01-01-01-01.wav " + tmp_path.name: "._ file left by macOS, not a recording",
        "my recording.wav " + tmp_path.name: "name does not follow 03-01-05-02-01-02-24 (ravdess)",
        "03-01-05-01-01-01-01.wav audio_speech_actors_01-24": "second copy of Actor_01/03-01-05-01-01-01-01.wav",
    }
    assert {lost.fate for lost in corpus.lost} == {"excluded"}


def test_a_folder_of_another_corpus_is_an_error(tmp_path: Path, sound) -> None:
    sound(tmp_path / "1001_DFA_ANG_XX.wav")
    with pytest.raises(
        ValueError, match=r"none of the 1 sound files under .* is named as in emodb \(such as 03a01Fa\)"
    ):
        open_corpus("emodb", tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no sound file under .*: emoscope looks for .*\.wav"):
        open_corpus("emodb", tmp_path)


@given(st.sampled_from(sorted(GRAMMARS)), st.text(alphabet="0123456789-_.abmANGXLO", max_size=24))
def test_any_name_is_read_or_refused(corpus: str, name: str) -> None:
    clip = GRAMMARS[corpus].read(Path(f"{name}.wav"))
    assert clip is None or (clip.speaker and clip.labels["emotion"])


def test_polish_is_complete() -> None:
    corpus = open_corpus("polish")
    assert len(corpus) == 450
    assert corpus.lost == ()
    assert corpus.columns == ("emotion", "word", "take", "speaker")
    for column, each in (("emotion", 150), ("word", 75), ("take", 90), ("speaker", 90)):
        assert set(corpus.counts(column).values()) == {each}


@pytest.mark.parametrize(
    ("corpus", "clips", "speakers", "emotions"),
    [("polish", 450, 5, 3), ("emogator", 6000, 250, 8), ("ravdess", 1200, 20, 8)],
)
def test_real_corpora(real_data: Path, corpus: str, clips: int, speakers: int, emotions: int) -> None:
    found = open_corpus(corpus, real_data / corpus)
    assert (len(found), len(found.lost)) == (clips, 0)
    assert (len(found.counts("speaker")), len(found.counts("emotion"))) == (speakers, emotions)
    assert set(found.counts("speaker").values()) == {clips // speakers}
