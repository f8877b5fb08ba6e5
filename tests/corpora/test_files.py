from __future__ import annotations

import sys
from pathlib import Path

import pytest

from emoscope.corpora import open_corpus
from emoscope.corpora.files import CLIPS, SOUND, VIDEO, sound_files


def test_every_sound_file_and_video_has_a_status(tmp_path: Path, sound) -> None:
    for emotion in ("anger", "fear"):
        for number, ending in enumerate(sorted(CLIPS)):
            (tmp_path / emotion).mkdir(exist_ok=True)
            (tmp_path / emotion / f"{number}{ending.upper()}").write_bytes(b"x")
    corpus = open_corpus(tmp_path)
    assert len(corpus) + len(corpus.lost) == 2 * len(CLIPS)
    facts = corpus.summary()
    assert facts["clips"] == facts["quarantined"] == 2 * len(CLIPS)
    assert not SOUND & VIDEO


def test_a_folder_of_what_needs_an_extra_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for emotion in ("anger", "fear"):
        (tmp_path / emotion).mkdir()
        (tmp_path / emotion / "p.m4a").write_bytes(b"x")
    monkeypatch.setitem(sys.modules, "av", None)
    said = r"none of the 2 sound files under .* can be read: m4a needs the extra video: pip install .*, or convert"
    with pytest.raises(ValueError, match=said):
        open_corpus(tmp_path)


def test_a_folder_is_entered_once(tmp_path: Path, sound) -> None:
    for emotion in ("anger", "fear"):
        for name in "ab":
            sound(tmp_path / "root" / emotion / f"{emotion}{name}.wav")
        (tmp_path / "root" / emotion / "back").symlink_to(".")
        (tmp_path / "root" / emotion / "above").symlink_to(tmp_path)
    (tmp_path / "root" / "angry").symlink_to(tmp_path / "root" / "anger")
    sound(tmp_path / "elsewhere" / "c.wav")
    (tmp_path / "root" / "sadness").symlink_to(tmp_path / "elsewhere")
    corpus = open_corpus(tmp_path / "root")
    assert corpus.counts() == {"anger": 2, "fear": 2, "sadness": 1}
    assert corpus.told == (
        "5 linked folders lead to folders that are read already, such as angry: they are entered once",
    )


def test_a_folder_without_sound_says_what_it_holds(tmp_path: Path) -> None:
    for name in ("a.zip", "b.zip", "c.txt"):
        (tmp_path / name).touch()
    with pytest.raises(
        ValueError, match=r"no sound file or video under .* \(its files: 2 \.zip, 1 \.txt\).*unpack archives"
    ):
        sound_files(tmp_path)
