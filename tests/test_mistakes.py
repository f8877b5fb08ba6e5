"""Mistakes of the user, through the command line on real files: one sentence with value and remedy, no traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from emoscope.corpora import polish_folder
from emoscope.models.lookup import TINY
from tests.helpers.program import PROGRAM, inside, undrawn
from tests.helpers.small_study import SMALL


def refused(cwd: Path, *arguments: str | Path) -> str:
    """The one sentence with which a command is refused."""
    done = inside(*arguments, cwd=cwd)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    said = [line for line in done.stderr.splitlines() if line.startswith("emoscope: ")]
    assert len(said) == 1, done.stderr
    return said[0]


def voices(folder: Path, speakers: str = "12345", takes: str = "34") -> Path:
    """A folder per emotion with some of the embedded voices."""
    for clip in polish_folder().glob(f"m[{speakers}].?_nie_[{takes}].flac"):
        emotion = {"a": "anger", "s": "fear", "n": "neutral"}[clip.name[3]]
        (folder / emotion).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, folder / emotion / f"{clip.name[:2]}-{clip.name[5:]}")
    return folder


def spoil(path: Path) -> dict[str, tuple[Path, str]]:
    """Bad sound files of every kind: name -> (file, words of the reason)."""
    path.mkdir(parents=True, exist_ok=True)
    time = np.arange(16_000) / 16_000
    tone = 0.2 * np.sin(2 * np.pi * 440 * time)
    soundfile.write(path / "m1-truncated.wav", tone, 16_000)
    whole = (path / "m1-truncated.wav").read_bytes()
    (path / "m1-truncated.wav").write_bytes(whole[: len(whole) // 3])
    (path / "m2-empty.wav").write_bytes(b"")
    (path / "m3-text.mp3").write_text("this is a letter, not a sound\n" * 40)
    soundfile.write(path / "m4-silent.flac", np.zeros(16_000), 16_000)
    soundfile.write(path / "m5-nan.wav", np.full(16_000, np.nan), 16_000, subtype="FLOAT")
    soundfile.write(path / "m1-short.wav", tone[:800], 16_000)
    (path / "m2-missing.wav").symlink_to(path / "went away.wav")
    return {
        "truncated": (path / "m1-truncated.wav", "cut off"),
        "empty": (path / "m2-empty.wav", "file is empty"),
        "non-audio": (path / "m3-text.mp3", "not readable as audio"),
        "silent": (path / "m4-silent.flac", "silent"),
        "NaN": (path / "m5-nan.wav", "not numbers"),
        "0.05 s": (path / "m1-short.wav", "too short (0.050 s"),
        "missing": (path / "m2-missing.wav", "file not found"),
    }


STUDY = (
    """
[[corpora]]
id = "folder"
root = "voices"
pattern = "{emotion}/{speaker}-{}"
"""
    + SMALL
)


def test_bad_clips_among_good_ones_are_quarantined_and_every_clip_is_accounted_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    undrawn(monkeypatch)
    voices(tmp_path / "voices")
    bad = spoil(tmp_path / "voices" / "fear")
    soundfile.write(tmp_path / "voices" / "loose.wav", np.ones(3200) * 0.1, 16_000)
    shutil.copytree(tmp_path / "voices" / "anger", tmp_path / "voices" / "angyr")
    (tmp_path / "s.toml").write_text(STUDY)
    done = inside("run", "s.toml", "--out", "run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    items = pl.read_parquet(tmp_path / "run" / "items.parquet")
    why = dict(zip(items["path"], zip(items["status"], items["why"], strict=True), strict=True))
    for name, (path, words) in bad.items():
        status, reason = why[f"voices/fear/{path.name}"]
        assert status == "quarantined", name
        assert words in reason, name
    counts = json.loads((tmp_path / "run" / "manifest.json").read_text())["counts"]
    # two of the voices are one recording
    assert counts == {"clips": 48, "used": 29, "not needed": 0, "excluded": 12, "quarantined": 7}
    assert sum("same recording" in (reason or "") for reason in items["why"]) == 1
    assert "10 clips are left out: emotion 'angyr' is not known: did you mean 'angry'?" in done.stderr
    assert 'labels = { angyr = "anger" }' in done.stderr


def test_a_bad_file_that_is_asked_about_alone_is_named(tmp_path: Path) -> None:
    path, words = spoil(tmp_path)["truncated"]
    assert f"{path}: {words}" in refused(tmp_path, "ask", path)


def test_every_kind_of_bad_file_is_named_by_a_check_of_the_corpus(tmp_path: Path) -> None:
    bad = spoil(tmp_path / "fear")
    done = inside("corpus", "check", tmp_path, "--json", cwd=tmp_path)
    assert done.returncode == 2  # nothing can be used
    reasons = json.loads(done.stdout)["unusable"]
    assert len(reasons) == len(bad)
    for path, words in bad.values():
        assert any(clip == f"fear/{path.stem}" and words in why for clip, why in reasons), path


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[headline]\nselctor = 'mad'", "field `selctor` in [headline] is not known: did you mean `selector`?"),
        ("[headline]\nbudget = 0", "headline.budget 0.0 is not a fraction of neurons: give a number between 0 and 0.5"),
        ("[headline]\nbudget = 3", "headline.budget 3.0 is not a fraction of neurons: give a number between 0 and 0.5"),
        ("[[corpora]]\nid = 'polish'\nemotions = ['angyr', 'fear']", "no emotion 'angyr': did you mean 'anger'?"),
        ("[[corpora]]\nid = 'polish'\nwhere = { speaker = 'm1' }", "one speaker (m1), so that no voice is left for the test"),
        ("[[corpora]]\nid = 'polsh'", "corpus 'polsh' is not known: did you mean 'polish'?"),
        ("[[corpora]]\nid = 'folder'\nroot = 'nowhere'", "folder nowhere does not exist"),
        ("[[corpora]]\nid = 'polish'\nroot = '$NO_SUCH'", "the environment variable NO_SUCH is not set"),
        ("[model]\nid = 'odd'", "has model_type 'oddity', which is not known here: known are"),
        ("[model]\nid = 'nowhere'", "model 'nowhere' is no folder here"),
        ("[model]\ndevice = 'tpu9'", "device 'tpu9' cannot be used on this machine"),
    ],
)  # fmt: skip
def test_a_study_that_cannot_be_run_is_refused(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "odd").mkdir()
    (tmp_path / "odd" / "config.json").write_text('{"model_type": "oddity"}')
    (tmp_path / "s.toml").write_text(text)
    assert said in refused(tmp_path, "run", "s.toml")


def test_a_file_that_is_no_study_is_refused(tmp_path: Path) -> None:
    (tmp_path / "s.toml").write_bytes(b"name = '\xff\xfe'")
    assert "s.toml" in refused(tmp_path, "run", "s.toml")
    assert "is not there" in refused(tmp_path, "run", tmp_path)


def test_tables_without_what_is_needed(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("file,mood\na.wav,angry\n")
    assert "t.csv has no column for the emotion" in refused(tmp_path, "corpus", "check", "t.csv")
    assert "has no column 'moud': did you mean 'mood'?" in refused(
        tmp_path, "corpus", "check", "t.csv", "--columns", "path=file,emotion=moud"
    )
    assert "names no column" in refused(tmp_path, "corpus", "check", "t.csv", "--columns", "emotion")
    (tmp_path / "u.csv").write_text("path,emotion\na.wav,angyr\n")
    said = refused(tmp_path, "corpus", "check", "u.csv")
    assert "did you mean 'angry'?" in said
    assert 'labels = { angyr = "anger" }' in said


def test_a_corpus_can_be_checked_with_its_pattern_and_columns(tmp_path: Path) -> None:
    voices(tmp_path / "voices", speakers="12", takes="3")
    done = inside("corpus", "check", "voices", "--pattern", "{emotion}/{speaker}-{}.flac", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["by_speaker"] == {"m1": 3, "m2": 3}
    (tmp_path / "t.csv").write_text("who,f,mood\nx,voices/fear/m1-nie_3.flac,scared\n")
    done = inside("corpus", "check", "t.csv", "--columns", "path=f,emotion=mood,speaker=who", "--json", cwd=tmp_path)
    assert json.loads(done.stdout)["by_speaker"] == {"x": 1}


def test_a_new_study_for_a_corpus_or_in_a_folder_that_is_not_there(tmp_path: Path) -> None:
    assert "corpus 'nosuch' is not known: known are polish" in refused(
        tmp_path, "study", "new", "x.toml", "--corpus", "nosuch"
    )
    assert "did you mean 'iemocap'?" in refused(tmp_path, "study", "new", "x.toml", "--corpus", "iemocop")
    assert not (tmp_path / "x.toml").exists()
    assert "the folder" in refused(tmp_path, "study", "new", "no/x.toml")


def test_an_option_that_is_not_there_ends_with_code_2(tmp_path: Path) -> None:
    done = inside("demo", "--pilott", "4", cwd=tmp_path)
    assert done.returncode == 2
    assert "--pilot" in done.stdout + done.stderr


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    said = refused(tmp_path, "demo", "--pilot", "4", "--out", "file/run")
    assert "the run folder file/run cannot be written (Not a directory): choose another with --out" in said
    assert "is not a run folder" in refused(tmp_path, "demo", "--fresh", "--out", tmp_path)


@pytest.mark.skipif(os.geteuid() == 0, reason="skipped: the superuser may write anywhere")
def test_a_folder_without_rights(tmp_path: Path) -> None:
    (tmp_path / "closed").mkdir(mode=0o500)
    assert "cannot be written (Permission denied)" in refused(tmp_path, "demo", "--pilot", "4", "--out", "closed/run")


def can_mount() -> bool:
    return (
        bool(shutil.which("unshare"))
        and not subprocess.run(
            ["unshare", "-rm", "mount", "-t", "tmpfs", "tmpfs", "/mnt"], capture_output=True, check=False
        ).returncode
    )


@pytest.mark.long
@pytest.mark.journey
@pytest.mark.skipif(not can_mount(), reason="skipped: this machine does not let a user mount a small file system")
def test_a_run_goes_on_when_there_is_room_on_the_disk_again(tmp_path: Path) -> None:
    # the same command on a disk of 1 MB, then 3, then enough
    script = """
        mount -t tmpfs -o size=1m tmpfs disk
        for size in 2m 400m; do
            "$@" run s.toml --log quiet --out disk/run > out.txt 2>> err.txt; echo $? >> codes.txt
            mount -o remount,size=$size disk
        done
        "$@" run s.toml --log quiet --out disk/run > out.txt 2>> err.txt; echo $? >> codes.txt
        find disk/run -name '*partial*' > partial.txt; cp -r disk/run run
    """
    voices(tmp_path / "voices", speakers="123")
    (tmp_path / "s.toml").write_text(STUDY)
    (tmp_path / "disk").mkdir()
    subprocess.run(["unshare", "-rm", "sh", "-c", script, "sh", *PROGRAM], cwd=tmp_path, check=True)
    said = (tmp_path / "err.txt").read_text()
    assert (tmp_path / "codes.txt").read_text().split() == ["75", "75", "0"], said
    assert said.count("the disk is full: make room; what is done is kept in disk/run") == 2
    assert "Traceback" not in said
    assert (tmp_path / "partial.txt").read_text() == ""
    assert (tmp_path / "run" / "report.html").is_file()


def test_a_fault_of_the_program_is_reported_with_its_traceback(tmp_path: Path) -> None:
    # a table of a finished run that holds something else is no mistake that a user makes
    broken = tmp_path / "run"
    broken.mkdir()
    (broken / "items.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    done = inside("report", broken, cwd=tmp_path)
    assert done.returncode == 70
    assert "Traceback" in done.stderr
    assert "please report it with the lines above" in done.stderr.splitlines()[-1]


def test_a_model_whose_weights_are_missing_is_named(tmp_path: Path) -> None:
    shutil.copytree(TINY, tmp_path / "model", ignore=shutil.ignore_patterns("*.safetensors"))
    assert "holds no .safetensors weights" in refused(tmp_path, "model", "check", tmp_path / "model")
