from __future__ import annotations

from pathlib import Path

import pytest

from emoscope.corpora import open_corpus
from emoscope.corpora.check import unusable_because


def test_a_folder_per_emotion(tmp_path: Path, sound) -> None:
    for name in (
        "Angry/1.wav",
        "Angry/deep/2.flac",
        "sad/1.wav",
        "sad/1.flac",
        "irony/1.wav",
        "loose.wav",
        "sad/._1.wav",
    ):
        sound(tmp_path / name)
    corpus = open_corpus(tmp_path)
    assert {clip.id: clip.labels["emotion"] for clip in corpus} == {
        "Angry/1": "anger", "Angry/deep/2": "anger", "sad/1": "sadness"
    }  # fmt: skip
    assert all(clip.speaker is None for clip in corpus)
    assert corpus.info.id == f"folder-{tmp_path.name}"
    why = {lost.path.relative_to(tmp_path).as_posix(): lost.why for lost in corpus.lost}
    assert why.pop("irony/1.wav").startswith("emotion 'irony' is not known")
    assert why == {
        "loose.wav": "not in the folder of an emotion",
        "sad/1.wav": "another file of a clip, with other content (of sad/1.flac)",
    }


def test_own_words(tmp_path: Path, sound) -> None:
    sound(tmp_path / "irony" / "1.wav")
    sound(tmp_path / "KL1" / "1.wav")
    corpus = open_corpus(tmp_path, labels={"Irony": "irony", "kl1": "joy"})
    assert corpus.counts() == {"happiness": 1, "irony": 1}


def test_a_pattern(tmp_path: Path, sound) -> None:
    for name in ("angry/m1_stop_x_y.wav", "happy/f2_go.wav", "happy/nounderscore.wav"):
        sound(tmp_path / name)
    corpus = open_corpus(tmp_path, pattern="{emotion}/{speaker}_{}.wav")
    assert [(c.id, c.speaker, dict(c.labels)) for c in corpus] == [
        ("angry/m1_stop_x_y", "m1", {"emotion": "anger"}), ("happy/f2_go", "f2", {"emotion": "happiness"})
    ]  # fmt: skip
    assert [lost.why for lost in corpus.lost] == ["path does not follow the pattern"]


def test_a_pattern_fills_fields_and_labels_and_may_leave_out_the_ending(tmp_path: Path, sound) -> None:
    sound(tmp_path / "train" / "0011" / "Sad" / "0011_000351_hello.wav")
    corpus = open_corpus(tmp_path, pattern="{split}/{speaker}/{emotion}/{}_{number}_{transcript}")
    (clip,) = corpus.clips
    assert (clip.split, clip.speaker, clip.transcript, clip.session) == ("train", "0011", "hello", None)
    assert clip.labels == {"emotion": "sadness", "number": "000351"}
    assert corpus.where({"number": "350-352"}).columns == ("emotion", "number", "speaker", "split")


@pytest.mark.parametrize(
    ("pattern", "fault"),
    [
        ("{speaker}/{}", "has no {emotion}"),
        ("{emotion}/{emotion}", "holds {emotion} twice"),
        ("{emotion}/{word}_{word}", "holds {word} twice"),
        ("{emotion}{speaker}.wav", "two placeholders side by side"),
        ("{emotion}/{}{speaker}.wav", "two placeholders side by side"),
        ("{emotion}/{speakr}_{}.wav", "{speakr}, which is nearly {speaker}"),
        ("{Emotion}/{}", "{Emotion}, which is nearly {emotion}"),
        ("{emotion}/{word 1}", "{word 1}: names are lower-case letters"),
        ("{emotion}/{1}", "{1}: names are lower-case letters"),
        ("{emotion}/{speaker_{}.wav", "brace without its partner"),
        ("{emotion}/*.wav", "has a star"),
        ("/data/{emotion}/{}.wav", "is no path below the folder"),
        ("../{emotion}/{}.wav", "is no path below the folder"),
    ],
)
def test_pattern_errors(tmp_path: Path, sound, pattern: str, fault: str) -> None:
    with pytest.raises(ValueError, match="write for example") as caught:
        open_corpus("folder", tmp_path, pattern=pattern)
    assert fault in str(caught.value)


def test_any_depth_of_folders_and_either_case_of_the_ending(tmp_path: Path, sound) -> None:
    for name in ("Angry/m1_1.wav", "a/Sad/m2_1.WAV", "a/b/Happy/m3_1.wav", "a/b/Happy/deep/m4_1.wav", "x.flac"):
        sound(tmp_path / name)
    corpus = open_corpus(tmp_path, pattern="**/{emotion}/{speaker}_{}.wav")
    assert {clip.speaker: clip.labels["emotion"] for clip in corpus} == {
        "m1": "anger",
        "m2": "sadness",
        "m3": "happiness",
    }
    assert {lost.id: lost.why.split(":")[0] for lost in corpus.lost} == {
        "a/b/Happy/deep/m4_1": "emotion 'deep' is not known", "x": "path does not follow the pattern"
    }  # fmt: skip
    # a pattern written on another system
    assert len(open_corpus(tmp_path, pattern="{}\\{emotion}\\{speaker}_{}")) == 1


def test_words_of_folders_may_be_left_out_by_name(tmp_path: Path, sound) -> None:
    for name in ("so_so/1.wav", "xxx/1.wav", "sad/1.wav"):
        sound(tmp_path / name)
    corpus = open_corpus(tmp_path, labels={"So-so": "neutral", "XXX": ""})
    assert corpus.counts() == {"neutral": 1, "sadness": 1}
    assert [lost.why for lost in corpus.lost] == ["label 'xxx' is left out by labels"]


def test_no_emotion_at_all_names_the_remedies(tmp_path: Path, sound) -> None:
    sound(tmp_path / "m1" / "angry" / "1.wav")
    with pytest.raises(
        ValueError, match=r"known emotion, but 'angry' further in is one: .*'\{speaker\}/\{emotion\}/\{\}.wav'"
    ):
        open_corpus(tmp_path)
    sound(tmp_path / "words" / "angyr" / "1.wav")
    with pytest.raises(
        ValueError, match=r"stands in the folder of a known emotion: emotion 'angyr' is not known.*pattern = \"\{sp"
    ):
        open_corpus(tmp_path / "words")
    sound(tmp_path / "flat" / "m1_angry_1.wav")
    with pytest.raises(ValueError, match=r"they lie in no folder below it.*pattern = \"\{speaker\}_\{emotion\}"):
        open_corpus(tmp_path / "flat")
    with pytest.raises(ValueError, match=r"can be used with pattern .* path does not follow the pattern"):
        open_corpus(tmp_path, pattern="{emotion}_{}")


def test_a_pattern_that_reads_one_speaker_from_all_files_names_the_one_that_reads_several(
    tmp_path: Path, sound
) -> None:
    for number, emotion in enumerate(("anger", "fear")):
        for speaker in ("00", "01"):
            sound(tmp_path / emotion / f"spk_{speaker}_00{number}.wav")
    corpus = open_corpus(tmp_path, pattern="{emotion}/{speaker}_{}.wav")
    assert "reads one speaker, 'spk', from all 4 files" in corpus.told[0]
    assert "write '{emotion}/spk_{speaker}_{}.wav', which reads 2 speakers" in corpus.told[0]
    # check and run judge alike
    assert "all 4 clips have one speaker (spk)" in (unusable_because(corpus.summary()) or "")
    better = open_corpus(tmp_path, pattern="{emotion}/spk_{speaker}_{}.wav")
    assert (better.told, unusable_because(better.summary())) == ((), None)
