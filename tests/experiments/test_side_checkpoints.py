"""A model that consists of several checkpoints, named in a study and on the command line."""

from __future__ import annotations

import shutil

import msgspec
import polars as pl
import pytest

pytest.importorskip("tiktoken", reason="skipped: the package tiktoken is not installed (the extra kimi)")

from emoscope import __version__
from emoscope.commands import model_app
from emoscope.corpora import polish_folder
from emoscope.experiments.items import candidate_items, study_corpus
from emoscope.experiments.record import candidates_digest, finished
from emoscope.experiments.stages import load
from emoscope.experiments.study import parse_study, to_toml
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import digest
from tests.helpers.tiny_kimi import TOKENIZER, write_kimi


@pytest.fixture
def folder(tmp_path):
    """The speech tokenizer lies where nobody looks for it."""
    written = write_kimi(tmp_path / "tiny")
    shutil.move(tmp_path / TOKENIZER, tmp_path / "elsewhere")
    return written


@pytest.fixture
def study(folder, tmp_path):
    return parse_study(
        f'[model]\nid = "{folder}"\nside = {{ audio_tokenizer = "{tmp_path / "elsewhere"}" }}\n'
        '[[corpora]]\nid = "polish"\nwhere = { speaker = ["m1", "m2"] }\n'
    )


def run_check(*arguments: str) -> int:
    command, bound, _ = model_app.parse_args(["check", *arguments], exit_on_error=False, print_error=False)
    return int(command(*bound.args, **bound.kwargs))


def test_a_study_names_them(study, tmp_path):
    assert parse_study(to_toml(study)) == study
    assert load(study.model, Log("quiet")).info.family == "kimi_audio"


def test_a_run_is_finished_only_with_the_same_ones(study, tmp_path):
    run = RunFolder(tmp_path / "run", create=True)
    manifest = {
        "emoscope": __version__,
        "asked": digest(msgspec.to_builtins(study)),
        "model": {"checksum": load(study.model, Log("quiet")).info.checksum},
        "candidates": candidates_digest(candidate_items(study, study_corpus(study, (), None))),
    }
    run.write_json("manifest.json", manifest)
    run.write_table("units", pl.DataFrame({"unit": []}, schema={"unit": pl.String}))
    assert finished(run, study)
    config = tmp_path / "elsewhere" / "config.json"
    config.write_text(config.read_text() + " ")
    assert not finished(run, study)


def test_a_check_is_given_them(folder, tmp_path, capsys):
    clip = str(polish_folder() / "m1.a_nie_3.flac")
    assert run_check(str(folder), "--side", f"audio_tokenizer={tmp_path / 'elsewhere'}", "--clip", clip) == 0
    assert "kimi_audio" in capsys.readouterr().out


@pytest.mark.parametrize("text", ["audio_tokenizer", "=folder", "audio_tokenizer="])
def test_a_side_that_is_not_understood(folder, text):
    with pytest.raises(ValueError, match=r"is not understood: give --side audio_tokenizer=FOLDER"):
        run_check(str(folder), "--side", text)
