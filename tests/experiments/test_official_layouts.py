"""The whole study on a checkpoint in Audio Flamingo 3's official layout and a tree in IEMOCAP's: no embedded model."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from emoscope.experiments.engine import run_study
from emoscope.experiments.study import parse_study
from tests.helpers.tiny_families import write_af3

FIGURES = "defined"

STUDY = """
name = "af3-on-iemocap"
[model]
id = "{model}"
[[corpora]]
id = "iemocap"
root = "{root}"
emotions = ["anger", "happiness", "neutral", "sadness"]
merge = {{ happiness = ["happiness", "excitement"] }}
[identify]
folds = "session"
items_per_emotion = 20
minimum = 2
[headline]
budget = 0.05
[interventions]
alphas = [0.5]
positions = []
[controls]
matched = 1
random = 1
shuffled = 1
orthogonal = 0
"""


def write_iemocap(root: Path) -> None:
    """Five sessions of two speakers; 24 turns a session with seven codes, one of them without majority."""
    generator = np.random.default_rng(0)
    codes = ["ang", "hap", "exc", "neu", "sad", "xxx"]
    for session in range(1, 6):
        dialog = f"Ses0{session}F_impro01"
        place = root / f"Session{session}"
        labels, sound = place / "dialog" / "EmoEvaluation", place / "sentences" / "wav" / dialog
        labels.mkdir(parents=True)
        sound.mkdir(parents=True)
        lines = ["% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n"]
        for speaker in "FM":
            for number in range(12):
                turn = f"{dialog}_{speaker}{number:03d}"
                code = codes[number % len(codes)]
                lines.append(f"[1.0 - 2.0]\t{turn}\t{code}\t[2.5, 2.5, 2.5]\nC-E2:\tNeutral;\t()\n")
                soundfile.write(sound / f"{turn}.wav", generator.normal(0, 0.1, 8000 + 400 * number), 16000)
        (labels / f"{dialog}.txt").write_text("\n".join(lines))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("official")
    model = write_af3(folder / "audio-flamingo-3")
    write_iemocap(folder / "IEMOCAP_full_release")
    study = parse_study(STUDY.format(model=model, root=folder / "IEMOCAP_full_release"))
    return run_study(study, folder / "run")


@pytest.mark.long
def test_the_study_runs_from_files_to_report(run) -> None:
    manifest = run.read_json("manifest.json")
    assert manifest["model"]["family"] == "audioflamingo3"
    assert manifest["counts"] == {"clips": 120, "used": 100, "not needed": 0, "excluded": 20, "quarantined": 0}
    assert {proof["status"] for proof in manifest["proofs"]} == {"passed"}
    assert (run / "report.html").is_file()
    assert {"gap", "excess_gap"} <= set(run.read_table("tables/effects")["measure"])


@pytest.mark.long
def test_sessions_are_the_folds_and_hold_both_their_speakers(run) -> None:
    items = run.read_table("items").filter(pl.col("status") == "used")
    assert set(items["fold"]) == {f"Session{n}" for n in range(1, 6)}
    assert items.group_by("fold").agg(pl.col("speaker").n_unique())["speaker"].to_list() == [2] * 5
    assert set(items["truth"]) == {"anger", "happiness", "neutral", "sadness"}
    assert items.filter(pl.col("truth") == "happiness").height == 40
