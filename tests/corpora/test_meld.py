from __future__ import annotations

import csv
import sys
from collections import Counter
from pathlib import Path

import pytest

from emoscope.corpora import open_corpus
from emoscope.corpora.lists import PARTS

HEAD = [
    "Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID", "Season", "Episode",
    "StartTime", "EndTime",
]  # fmt: skip
# serial and utterance numbers have gaps, and dialogue 0 restarts in every split
ROWS = {
    "train": [
        (1, "also I was the point person", "Chandler", "neutral", "neutral", 0, 0, 8, 21, "00:16:16,059", "00:16:21,731"),
        (2, "You must\x92ve had your hands full.", "The Interviewer", "neutral", "neutral", 0, 1, 8, 21, "0:16:21,940", "0:16:23,442"),
        (5, "Oh, that\x92s great, really", "Rachel", "joy", "positive", 0, 4, 8, 21, "00:16:48,800", "00:16:54,514"),
        (9, "No!", "Ross and Joey", "anger", "negative", 125, 3, 3, 6, "00:00:01,000", "00:00:02,000"),
        (10, "Why do all you\x92re coffee mugs have numbers?", "Mark", "surprise", "positive", 1, 0, 9, 23, "00:36:40,364", "00:36:42,824"),
    ],
    "dev": [
        (1, "Oh my God, he\u2019s lost it.", "Phoebe", "sadness", "negative", 0, 0, 4, 7, "00:20:57,256", "00:21:00,049"),
        (2, "Hey!", "joey", "disgust", "negative", 110, 7, 4, 7, "00:21:01,927", "00:21:04,261"),
    ],
    "test": [
        (1, "Why do you ask?", "Monica", "fear", "negative", 0, 0, 3, 19, "00:14:38,127", "00:14:40,378"),
        (2, "", "Ross", "anger", "negative", 0, 2, 3, 19, "00:14:40,629", "bad"),
    ],
}  # fmt: skip
FOLDERS = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}


def labels(root: Path, rows: dict = ROWS) -> None:
    root.mkdir(parents=True, exist_ok=True)
    for split, lines in rows.items():
        with (root / f"{split}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([HEAD, *lines])


def media(root: Path, write, ending: str = ".mp4", folders: dict[str, str] = FOLDERS) -> None:
    for split, lines in ROWS.items():
        for line in lines:
            # the two clips that the release lacks
            if (split, *line[5:7]) not in (("train", 125, 3), ("dev", 110, 7)):
                write(root / folders[split] / f"dia{line[5]}_utt{line[6]}{ending}")


@pytest.fixture
def shipped(tmp_path: Path, film) -> Path:
    """The folder as it is unpacked, with mp4 files and every known oddity."""
    root = tmp_path / "MELD.Raw"
    labels(root)
    media(root, film)
    film(root / "dev_splits_complete/dia66_utt9.mp4")  # no row
    test = root / "output_repeated_splits_test"
    film(test / "final_videos_testdia0_utt0.mp4")
    (test / "._dia0_utt0.mp4").write_bytes(b"\0\5\x16\7")
    (root / "README.txt").write_text("MELD")
    return root


@pytest.fixture
def derived(tmp_path: Path, sound) -> Path:
    """The label files with wav copies in place of the videos."""
    labels(tmp_path / "meld")
    media(tmp_path / "meld", sound, ".wav")
    return tmp_path / "meld"


def test_clips_are_told_apart_by_split(shipped: Path) -> None:
    corpus = open_corpus("meld", shipped)
    assert [(clip.id, clip.split, clip.speaker, clip.labels["emotion"]) for clip in corpus] == [
        ("train_dia0_utt0", "train", "Chandler", "neutral"),
        ("train_dia0_utt1", "train", "The Interviewer", "neutral"),
        ("train_dia0_utt4", "train", "Rachel", "happiness"),
        ("train_dia1_utt0", "train", "Mark", "surprise"),
        ("dev_dia0_utt0", "development", "Phoebe", "sadness"),
        ("test_dia0_utt0", "test", "Monica", "fear"),
        ("test_dia0_utt2", "test", "Ross", "anger"),
    ]
    assert corpus.counts("character") == {
        "Chandler": 1, "Monica": 1, "Phoebe": 1, "Rachel": 1, "Ross": 1, "all others": 2,
    }  # fmt: skip
    second = corpus.clips[1]
    assert second.transcript == "You must’ve had your hands full."
    assert (second.session, second.block) == ("season 8 episode 21", "train_dia0")
    assert second.labels == {
        "emotion": "neutral", "sentiment": "neutral", "character": "all others", "season": "8", "episode": "21",
        "dialogue": "train_dia0", "listed_s": "1.502",
    }  # fmt: skip
    assert "listed_s" not in corpus.clips[-1].labels
    assert corpus.clips[-1].transcript is None


def test_every_file_and_row_has_a_status(shipped: Path) -> None:
    corpus = open_corpus("meld", shipped)
    assert {(lost.id, lost.status, lost.why) for lost in corpus.lost} == {
        ("train_dia125_utt3", "quarantined", "file not found (the release lacks it)"),
        ("dev_dia110_utt7", "quarantined", "file not found (the release lacks it)"),
        ("dev_dia66_utt9", "excluded", "no row in dev_sent_emo.csv"),
        ("test_final_videos_testdia0_utt0", "excluded", "a final_videos_test copy, which the maintainers of MELD say to ignore"),
    }  # fmt: skip
    facts = corpus.summary()
    assert facts["clips"] == facts["used"] + facts["quarantined"] + facts["excluded"] == 7 + 2 + 2
    assert facts["sample_rates"] == {"48000": 7}
    assert ["split=train", 9989, 5] in facts["differences"]


def test_a_broken_video_is_quarantined(shipped: Path) -> None:
    (shipped / "train_splits/dia0_utt4.mp4").write_bytes(b"\0" * 5000)
    facts = open_corpus("meld", shipped).summary()
    assert facts["unusable"][-1] == [
        "train_dia0_utt4", "is filled with null bytes, as a download leaves it that was cut off: copy or download it again",
    ]  # fmt: skip


def test_sound_copies_may_stand_in_place_of_the_videos(derived: Path) -> None:
    corpus = open_corpus("meld", derived)
    assert len(corpus) == 7
    assert {clip.path.suffix for clip in corpus} == {".wav"}
    assert Counter(lost.status for lost in corpus.lost) == {"quarantined": 2}


def test_sound_copies_may_stand_beside_the_videos(shipped: Path, sound) -> None:
    sound(shipped / "train_splits/dia0_utt0.flac")
    sound(shipped / "test_wav/dia0_utt0.wav")
    corpus = open_corpus("meld", shipped)
    paths = {clip.id: clip.path.name for clip in corpus}
    assert (paths["train_dia0_utt0"], paths["test_dia0_utt0"]) == ("dia0_utt0.flac", "dia0_utt0.wav")
    second = [
        (lost.id, lost.path.name)
        for lost in corpus.lost
        if "another file of a clip that is read (of dia0_utt0." in lost.why
    ]
    assert second == [("train_dia0_utt0", "dia0_utt0.mp4"), ("test_dia0_utt0", "dia0_utt0.mp4")]
    assert len(corpus) == 7


def test_media_may_be_elsewhere_or_deeper(tmp_path: Path, derived: Path, sound) -> None:
    for folder in FOLDERS.values():
        (tmp_path / "media/MELD").mkdir(parents=True, exist_ok=True)
        (derived / folder).rename(tmp_path / "media/MELD" / folder)
    assert len(open_corpus("meld", derived, audio_root=tmp_path / "media")) == 7
    assert len(open_corpus("meld", tmp_path)) == 7
    with pytest.raises(
        ValueError, match=r"its media \(train_splits, dev.*\) are not there; give their folder with aud"
    ):
        open_corpus("meld", derived)


def test_without_pyav_the_videos_are_named(shipped: Path, sound, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    with pytest.raises(ValueError, match=r"can be used: mp4 needs the extra video: pip install 'emoscope\[video\]'"):
        open_corpus("meld", shipped)
    sound(shipped / "train_splits/dia0_utt0.wav")
    corpus = open_corpus("meld", shipped)
    assert len(corpus) == 1
    assert sum("needs the extra video" in lost.why for lost in corpus.lost if lost.status == "quarantined") == 6


def test_one_split_alone_can_be_read(derived: Path) -> None:
    for split in ("train", "dev"):
        (derived / f"{split}_sent_emo.csv").unlink()
    corpus = open_corpus("meld", derived)
    assert corpus.counts("split") == {"test": 2}
    assert Counter(lost.why for lost in corpus.lost) == {
        "train_sent_emo.csv is not there": 4, "dev_sent_emo.csv is not there": 1,
    }  # fmt: skip


def test_bad_rows_are_accounted_for(derived: Path) -> None:
    table = derived / "test_sent_emo.csv"
    table.write_text(
        table.read_text()
        + "3,Hi,Joey,joy,positive,0\n"
        + "4,Hi,Joey,joy,positive,0,x,1,1,,\n"
        + "5,Hi,Joey,anger,negative,0,0,1,1,,\n"
        + "6,Hi,Joey,zeal,positive,0,9,1,1,,\n"
        + "7,Hi,Joey,,positive,0,10,1,1,,\n"
    )
    corpus = open_corpus("meld", derived)
    whys = {lost.id: lost.why for lost in corpus.lost if lost.status == "excluded"}
    assert whys.pop("test_dia0_utt9").startswith("emotion 'zeal' is not known")
    assert whys == {
        "test_sent_emo.csv row 3": "row has 6 cells where the header has 11",
        "test_sent_emo.csv row 4": "row has no dialogue and utterance number",
        "test_dia0_utt0": "row 5 of test_sent_emo.csv repeats this clip",
        "test_dia0_utt10": "no emotion is given",
    }
    assert len(corpus) == 7


def test_a_windows_file_is_read(derived: Path) -> None:
    table = derived / "train_sent_emo.csv"
    table.write_bytes(table.read_text(encoding="utf-8").encode("latin-1"))
    assert open_corpus("meld", derived).clips[1].transcript == "You must’ve had your hands full."


def test_a_folder_that_is_not_meld_is_an_error(tmp_path: Path, derived: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(FileNotFoundError, match=r"holds no label file of MELD \(train_sent_emo.csv, dev_sent"):
        open_corpus("meld", tmp_path / "empty")
    (derived / "dev_sent_emo.csv").write_text("Speaker,Emotion\nJoey,joy\n")
    with pytest.raises(ValueError, match="has no column 'Utterance': its columns are Speaker, Emotion"):
        open_corpus("meld", derived)


def test_the_counts_of_a_complete_copy_agree() -> None:
    expected = open_info().expected
    emotions = {name: count for name, count in expected.items() if name != "clips" and "=" not in name}
    splits = [count for name, count in expected.items() if name.startswith("split=")]
    assert sum(emotions.values()) == sum(splits) == expected["clips"] == 13_708
    assert {f"split={part.name}" for part in PARTS} <= set(expected)


def open_info():
    from emoscope.corpora import CorpusInfo

    return CorpusInfo.of("meld")
