"""Clips longer than the encoder's window go through listening in several windows."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from emoscope.corpora import polish_folder
from emoscope.experiments.engine import run_study
from emoscope.experiments.heard import load_inputs
from emoscope.experiments.stages import Task, act, listen, select
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.models.values import AUDIO
from emoscope.neurons.activity import Activity
from emoscope.runs import Log, RunFolder
from tests.helpers.small_study import SMALL

STUDY = (
    """
[[corpora]]
id = "folder"
root = "VOICES"
pattern = "{emotion}/{speaker}-{}.flac"
LOUDNESS
"""
    + SMALL
)

WINDOW_S = 4
"""Seconds of one window of the embedded model (chunk_length of its processor)."""


@pytest.fixture
def voices(tmp_path: Path) -> Path:
    """Two speakers, three emotions; one recording is drawn out to 70 s by saying it again and again."""
    for clip in polish_folder().glob("m[12].?_nie_[34].flac"):
        emotion = {"a": "anger", "s": "fear", "n": "neutral"}[clip.name[3]]
        (tmp_path / "voices" / emotion).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, tmp_path / "voices" / emotion / f"{clip.name[:2]}-{clip.name[5:]}")
    long = tmp_path / "voices" / "anger" / "m1-nie_3.flac"
    samples, rate = soundfile.read(long)
    soundfile.write(long, np.resize(samples, 70 * rate), rate)
    return tmp_path / "voices"


@pytest.mark.long
def test_a_clip_of_70_s_is_heard_in_windows_and_its_audio_positions_grow(voices: Path, tmp_path: Path) -> None:
    model = load_model("tiny")
    study = parse_study(STUDY.replace("VOICES", str(voices)).replace("LOUDNESS", ""))
    run = run_study(study, tmp_path / "run", model=model)
    items = run.read_table("items").filter(pl.col("status") == "used")
    long = items.row(by_predicate=pl.col("clip") == "anger/m1-nie_3", named=True)
    assert long["duration_s"] == pytest.approx(70)
    heard = items["item"].to_numpy()
    audio = dict(zip(heard.tolist(), Activity.open(run / "activity.zarr").tokens("audio", heard).tolist(), strict=True))
    # a second of sound is as many positions in a long clip as in a short one; the last of 18 windows is half full
    per_second = audio[long["item"]] / 70
    assert audio[long["item"]] > (70 / WINDOW_S - 1) * max(
        count for item, count in audio.items() if item != long["item"]
    )
    for item, seconds in zip(items["item"], items["duration_s"], strict=True):
        assert audio[item] == pytest.approx(per_second * seconds, abs=2)
    (prepared,) = load_inputs(run, [long["item"]])
    assert int((prepared.scopes == AUDIO).sum()) == audio[long["item"]]
    # later windows carry their own sound: no two of the first windows are the same embeddings
    sound = prepared.embeddings[prepared.scopes == AUDIO]
    window = audio[long["item"]] // (70 // WINDOW_S)
    assert not np.allclose(sound[:window].float(), sound[window : 2 * window].float(), atol=1e-3)
    # and the clip is asked under interventions like all others
    answers = pl.read_parquet(run / "answers" / "*.parquet")
    assert set(answers.filter(pl.col("item") == long["item"])["condition"]) == set(answers["condition"])


@pytest.mark.parametrize(
    ("line", "loudness"),
    [
        ("", "normalised"),
        pytest.param('loudness = "as recorded"', "as recorded", marks=pytest.mark.long),
    ],
)
def test_loudness_is_as_the_study_says_and_stands_in_the_manifest(
    line: str, loudness: str, voices: Path, tmp_path: Path
) -> None:
    run = RunFolder(tmp_path / "run", create=True)
    study = parse_study(STUDY.replace("VOICES", str(voices)).replace("LOUDNESS", line))
    listened = listen(Task(study, run, Log("quiet")), load_model("tiny"))
    quiet = voices / "fear" / "m2-nie_4.flac"
    samples, rate = soundfile.read(quiet)
    soundfile.write(quiet, samples / 4, rate)
    other = RunFolder(tmp_path / "quieter", create=True)
    listen(Task(study, other, Log("quiet")), load_model("tiny"))
    item = listened.items.row(by_predicate=pl.col("clip") == "fear/m2-nie_4", named=True)["item"]
    (first,), (second,) = load_inputs(run, [item]), load_inputs(other, [item])
    loud, soft = (one.embeddings[one.scopes == AUDIO] for one in (first, second))
    difference = float((loud - soft).abs().max())
    # a quarter of the loudness changes nothing but the rounding of 16 bits where loudness is evened out
    assert (difference < 0.05) == (loudness == "normalised"), difference
    act(select(listened))
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["study"]["corpora"][0]["loudness"] == loudness
