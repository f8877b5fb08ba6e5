from __future__ import annotations

import shutil
from pathlib import Path

from emoscope.corpora import open_corpus

NAME = "03-01-05-01-01-01-01.wav"


def test_equal_copies_keep_the_folder_that_names_the_speaker(tmp_path: Path, sound) -> None:
    sound(tmp_path / "Actor_01" / NAME)
    sound(tmp_path / "Actor_02" / "03-01-01-01-01-01-02.wav")
    for folder in ("Actor", "all_actors_01-02"):
        (tmp_path / folder).mkdir()
        shutil.copy(tmp_path / "Actor_01" / NAME, tmp_path / folder / NAME)
    corpus = open_corpus("ravdess", tmp_path)
    assert {clip.path.parent.name for clip in corpus} == {"Actor_01", "Actor_02"}
    assert [lost.why for lost in corpus.lost] == [f"second copy (of Actor_01/{NAME})"] * 2
    assert corpus.summary()["reasons"]["excluded"] == {"second copy": 2}


def test_copies_that_differ_are_told_and_the_higher_rate_is_read(tmp_path: Path, sound) -> None:
    sound(tmp_path / "Actor_01" / NAME, rate=22_050)
    sound(tmp_path / "more" / "Actor_01" / NAME, rate=48_000)
    corpus = open_corpus("ravdess", tmp_path)
    assert [clip.path.parent.parent.name for clip in corpus] == ["more"]
    said = f"another file of a clip, with other content (of more/Actor_01/{NAME}; 22050 Hz, there 48000 Hz)"
    assert [lost.why for lost in corpus.lost] == [said]
    assert corpus.summary()["reasons"]["excluded"] == {"another file of a clip, with other content": 1}
