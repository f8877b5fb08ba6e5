from __future__ import annotations

import unicodedata
from pathlib import Path

import pytest

from emoscope.corpora import open_corpus


def rows(*names: str) -> list[dict[str, str]]:
    return [{"path": name, "emotion": "anger", "speaker": str(row)} for row, name in enumerate(names)]


@pytest.mark.parametrize(
    ("listed", "there"),
    [
        ("wavs/Wut.WAV", "wavs/wut.wav"),
        ("Wavs/wut.wav", "wavs/wut.wav"),
        ("wavs/wut.wav", "wavs/wut.flac"),
        ("wavs/m1.a_nie_2", "wavs/m1.a_nie_2.wav"),
        (unicodedata.normalize("NFC", "wavs/größe.wav"), unicodedata.normalize("NFD", "wavs/größe.wav")),
        (unicodedata.normalize("NFD", "wävs/a.wav"), unicodedata.normalize("NFC", "wävs/a.wav")),
    ],
)
def test_another_spelling_is_found_and_told(tmp_path: Path, sound, listed: str, there: str) -> None:
    sound(tmp_path / there.replace(".flac", ".wav"))
    (tmp_path / there.replace(".flac", ".wav")).rename(tmp_path / there)
    corpus = open_corpus(rows(listed), audio_root=tmp_path)
    assert [clip.path for clip in corpus] == [tmp_path / there]
    respelt = Path(listed).name != Path(there).name
    assert bool(corpus.told) == respelt
    assert not respelt or f"such as {Path(there).name} for {Path(listed).name}" in corpus.told[0]


def test_where_several_are_spelt_alike_none_is_taken(tmp_path: Path, sound) -> None:
    for name in ("a.flac", "a.mp3", "b.wav"):
        sound(tmp_path / "x.wav").rename(tmp_path / name)
    corpus = open_corpus(rows("a.wav", "b.wav"), audio_root=tmp_path)
    assert [clip.id for clip in corpus] == ["b"]
    assert corpus.lost[0].why == "file not found: it is not there, but a.flac and a.mp3 are"


def test_a_file_that_another_row_names_is_not_taken_twice(tmp_path: Path, sound) -> None:
    sound(tmp_path / "a.wav")
    corpus = open_corpus(rows("A.wav", "a.wav", "a.flac"), audio_root=tmp_path)
    assert [(clip.id, clip.speaker) for clip in corpus] == [("a", "1")]
    assert [lost.why.partition(":")[0] for lost in corpus.lost] == ["file not found", "row 3 repeats this clip"]


def test_absolute_paths_give_ids_below_their_common_folder(tmp_path: Path, sound) -> None:
    for name in ("x/s1/1.wav", "x/s2/1.wav"):
        sound(tmp_path / name)
    given = rows(*(str(tmp_path / name) for name in ("x/s1/1.wav", "x/s2/1.wav")))
    assert [clip.id for clip in open_corpus(given)] == ["s1/1", "s2/1"]
    assert [clip.id for clip in open_corpus(given, audio_root=tmp_path)] == ["x/s1/1", "x/s2/1"]


def test_paths_of_another_machine_are_named_with_what_is_here(tmp_path: Path, sound) -> None:
    sound(tmp_path / "wavs" / "a.wav")
    for name in ("D:\\corpus\\wavs\\a.wav", "/home/old/wavs/a.wav"):
        with pytest.raises(FileNotFoundError, match=r"; wavs/a\.wav is, so give paths that begin there"):
            open_corpus(rows(name), audio_root=tmp_path)


@pytest.mark.parametrize("levels", [1_500, 100_000])
def test_a_path_of_very_many_folders_is_not_there(tmp_path: Path, sound, levels: int) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "t.csv").write_text(f"path,emotion\na.wav,anger\n{'b/' * levels}a.wav,joy\n")
    corpus = open_corpus(tmp_path / "t.csv")
    assert (len(corpus), [lost.status for lost in corpus.lost]) == (1, ["quarantined"])
