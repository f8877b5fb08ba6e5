"""Studies that ask about another column than the emotion, with the embedded model."""

from __future__ import annotations

import string
from pathlib import Path

import polars as pl
import pytest
import soundfile

from emoscope.corpora import load_audio, polish_folder
from emoscope.experiments.engine import run_study
from emoscope.experiments.schema import StudyError
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.neurons.samples import NotIdentifiable

FIGURES = "defined"

STUDY = """
name = "column"
[model]
allow_trained_on = true
positions_per_batch = 2048
[[corpora]]
{corpus}
[identify]
label = "{label}"
folds = 2
minimum = 1
selectors = ["mad"]
[headline]
selector = "mad"
budget = 0.02
[interventions]
alphas = [1.0]
positions = []
reliance = false
generate = false
[controls]
matched = 1
random = 0
shuffled = 0
orthogonal = 0
"""
WORDS = 'id = "polish"\nwhere = { emotion = ["anger"], take = [1], speaker = ["m1", "m2", "m3"] }'


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


def table_of_sounds(folder: Path, labels: list[str], each: int = 2) -> Path:
    """Short pieces of the embedded voices with a column of labels that says nothing of emotion."""
    clips = sorted(polish_folder().glob("m[12].[an]_*_1.flac"))
    rows = ["path,emotion,speaker,room"]
    for n, label in enumerate(labels * each):
        clip = clips[n % len(clips)]
        samples = load_audio(clip)
        soundfile.write(folder / f"{n}.wav", samples[n : n + 4000], 16_000)
        rows.append(f"{n}.wav,{'anger' if '.a_' in clip.name else 'neutral'},{clip.name[:2]},{label}")
    (folder / "clips.csv").write_text("\n".join(rows) + "\n")
    return folder / "clips.csv"


def test_a_study_of_the_word(tmp_path: Path, model) -> None:
    run = run_study(parse_study(STUDY.format(corpus=WORDS, label="word")), tmp_path / "run", model=model)
    items = pl.read_parquet(run.path / "items.parquet").filter(pl.col("status") == "used")
    assert set(items["label"]) == {"word"}
    assert set(items["truth"]) == {"nie", "oddaj", "podaj", "stop", "tak", "trzymaj"}
    assert set(items["emotion"]) == {"anger"}
    assert all(set(options) == set(items["truth"]) for options in items["options"])
    sets = pl.read_parquet(run.path / "sets.parquet")
    assert set(sets["label"]) == {"word"}
    assert set(sets["emotion"]) <= set(items["truth"])
    answers = pl.concat([pl.read_parquet(path) for path in sorted((run.path / "answers").glob("*.parquet"))])
    assert set(answers["answer"].drop_nulls()) <= set(items["truth"])
    assert (answers.filter(pl.col("condition") == "baseline")["logp"].list.len() == 6).all()
    assert (run.path / "report.html").stat().st_size > 10_000


@pytest.mark.long
def test_options_reach_from_a_to_z(tmp_path: Path, model) -> None:
    rooms = [f"room {letter}" for letter in string.ascii_lowercase]
    table = table_of_sounds(tmp_path, rooms)
    corpus = f'id = "table"\nroot = "{table}"'
    # the embedded model knows nothing of rooms, so that the study ends after listening, with every clip asked
    with pytest.raises(NotIdentifiable, match="room a"):
        run_study(parse_study(STUDY.format(corpus=corpus, label="room")), tmp_path / "run", model=model)
    items = pl.read_parquet(tmp_path / "run" / "items.parquet").filter(pl.col("status") == "used")
    assert items.height == 52
    answers = pl.concat([pl.read_parquet(path) for path in sorted((tmp_path / "run" / "answers").glob("*.parquet"))])
    assert set(answers["answer"].drop_nulls()) <= set(rooms)
    assert answers["logp"].list.len().unique().to_list() == [26]
    assert {len(options) for options in items["options"]} == {26}
    # the letter Z is the true one as well as any
    assert {
        options.index(truth) for options, truth in zip(items["options"].to_list(), items["truth"], strict=True)
    } >= {0, 25}


def test_a_27th_label_is_refused_before_anything_is_heard(tmp_path: Path) -> None:
    table = table_of_sounds(tmp_path, [f"room {n}" for n in range(27)])
    corpus = f'id = "table"\nroot = "{table}"'
    with pytest.raises(StudyError, match=r"column 'room' has 27 labels .* 26 letters: choose .*emotions = .*merge"):
        run_study(parse_study(STUDY.format(corpus=corpus, label="room")), tmp_path / "run")
    chosen = f'{corpus}\nemotions = ["room 0", "room 1"]\nclips_per_emotion = 1'
    study = parse_study(STUDY.format(corpus=chosen, label="room"))
    assert study.corpus.emotions == ("room 0", "room 1")
