"""Folds, the corpus's own split, and what stands on both sides."""

from __future__ import annotations

import csv
import re
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from emoscope.corpora import open_corpus, polish_folder
from emoscope.experiments.engine import run_study
from emoscope.experiments.estimate import dry_run
from emoscope.experiments.items import candidate_items, study_corpus
from emoscope.experiments.manifest import finished
from emoscope.experiments.schema import StudyError
from emoscope.experiments.splits import folds_dealt_before, shared_speakers
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.runs import Log, RunFolder

SIX = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")
HEAD = "Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime"


@pytest.fixture
def friends(tmp_path: Path) -> Path:
    """MELD with the six characters in train and test, and guests of one split each."""
    guests = {"train": ["Mark", "The Waiter"], "dev": ["Gunther"], "test": ["Mona"]}
    folders = {"train": "train_splits", "dev": "dev_splits_complete", "test": "output_repeated_splits_test"}
    generator = np.random.default_rng(0)
    for split, others in guests.items():
        with (tmp_path / f"{split}_sent_emo.csv").open("w", newline="", encoding="utf-8") as file:
            table = csv.writer(file)
            table.writerow(HEAD.split(","))
            (tmp_path / folders[split]).mkdir()
            for dialogue, speaker in enumerate([*(SIX if split != "dev" else ()), *others]):
                for number, emotion in enumerate(("anger", "joy")):
                    table.writerow(["Hi", speaker, emotion, "positive", dialogue, number, 1, 1, "", ""])
                    path = tmp_path / folders[split] / f"dia{dialogue}_utt{number}.wav"
                    soundfile.write(path, 0.1 * generator.standard_normal(3200), 16_000)
    return tmp_path


def asked(root: Path, more: str = "", log: Log | None = None) -> pl.DataFrame:
    study = parse_study(f"[[corpora]]\nid = 'meld'\nroot = '{root}'\n{more}")
    return candidate_items(study, study_corpus(study), log)


def test_meld_is_cross_fitted_over_the_six_and_all_others(friends: Path) -> None:
    items = asked(friends)
    assert set(items["fold"]) == {*SIX, "all others"}
    others = items.filter(pl.col("fold") == "all others")
    assert set(others["speaker"]) == {"Mark", "The Waiter", "Gunther", "Mona"}
    assert set(others["split"]) == {"train", "development", "test"}
    assert shared_speakers(items) == []
    # a number of folds deals single speakers
    assert set(asked(friends, "[identify]\nfolds = 3")["fold"]) == {"fold1", "fold2", "fold3"}


def test_one_character_of_meld_is_not_cross_fitted_over_characters(friends: Path) -> None:
    study = parse_study(f"[[corpora]]\nid = 'meld'\nroot = '{friends}'\nwhere = {{ character = 'all others' }}")
    assert set(candidate_items(study, study_corpus(study)).drop_nulls("fold")["fold"]) == {
        "Mark", "The Waiter", "Gunther", "Mona",
    }  # fmt: skip


def test_the_official_split_says_which_speakers_it_shares(friends: Path, tmp_path: Path) -> None:
    log = Log("quiet", tmp_path / "log.jsonl")
    items = asked(friends, "[identify]\nsplit = 'official'", log)
    sides = Counter(zip(items["split"], items["side"], strict=True))
    assert sides == {("train", "identify"): 16, ("development", "identify"): 2, ("test", "evaluate"): 14}
    assert items["fold"].to_list() == items["side"].to_list()
    assert shared_speakers(items) == list(SIX)
    said = (tmp_path / "log.jsonl").read_text()
    assert "speakers shared: 6 (Chandler, Joey, Monica, Phoebe, Rachel, Ross)" in said


def test_development_can_be_left_out_of_the_official_split(friends: Path) -> None:
    study = parse_study(
        f"[[corpora]]\nid = 'meld'\nroot = '{friends}'\nwhere = {{ split = ['train', 'test'] }}\n"
        "[identify]\nsplit = 'official'"
    )
    items = candidate_items(study, study_corpus(study))
    assert Counter(items["side"]) == {"identify": 16, "evaluate": 14, None: 2}


def test_a_recording_on_both_official_sides_is_left_out_once(friends: Path) -> None:
    one, other = friends / "train_splits/dia0_utt0.wav", friends / "output_repeated_splits_test/dia3_utt0.wav"
    other.write_bytes(one.read_bytes())
    items = asked(friends, "[identify]\nsplit = 'official'")
    out = items.filter(pl.col("fate") == "excluded")
    assert out["why"].to_list() == ["same recording (as test_dia3_utt0, speaker Phoebe)"]


def test_what_the_official_split_cannot_do_is_said(friends: Path) -> None:
    study = parse_study("[[corpora]]\nid = 'polish'\n[identify]\nsplit = 'official'")
    with pytest.raises(
        StudyError, match=r"no clip of polish is in a split such as train \(its splits: none\); leave it"
    ):
        candidate_items(study, study_corpus(study))
    study = parse_study(
        f"[[corpora]]\nid = 'meld'\nroot = '{friends}'\nwhere = {{ split = ['train', 'development'] }}\n"
        "[identify]\nsplit = 'official'"
    )
    corpus = study_corpus(study)
    with pytest.raises(
        StudyError, match=r"no clip of meld is in a split such as test \(its splits: development, train\)"
    ):
        candidate_items(study, corpus)
    with pytest.raises(StudyError, match=r"identify.split 'offical': give \"official\""):
        parse_study("[identify]\nsplit = 'offical'")
    with pytest.raises(StudyError, match="both fix the sides"):
        parse_study("[identify]\nsplit = 'official'\nwhere = { take = 1 }\n[evaluate]\nwhere = { take = 2 }")


def test_a_dry_run_says_which_speakers_are_shared(friends: Path, capsys: pytest.CaptureFixture[str]) -> None:
    dry_run(parse_study(f"[[corpora]]\nid = 'meld'\nroot = '{friends}'\n[identify]\nsplit = 'official'"))
    assert "speakers shared: 6 (Chandler" in " ".join(capsys.readouterr().out.split())


def test_a_dry_run_counts_an_answer_for_every_wording(capsys: pytest.CaptureFixture[str]) -> None:
    told = []
    for wording in ('"lettered"', '["lettered", "listed"]'):
        dry_run(parse_study(f"[question]\nwording = {wording}\n[evaluate]\nitems_per_emotion = 7"))
        row = next(line for line in capsys.readouterr().out.splitlines() if "in all" in line)
        told.append(int(re.findall(r"[0-9,]+", row)[-1].replace(",", "")))
    assert told[1] == 2 * told[0]


def test_a_dry_run_counts_clips_and_not_their_items(capsys: pytest.CaptureFixture[str]) -> None:
    study = 'clips_per_emotion = 40\n[question]\nletter_orders = 2\nwording = ["lettered", "listed"]'
    dry_run(parse_study(f"[[corpora]]\nid = 'polish'\n{study}"))
    told = " ".join(capsys.readouterr().out.split())
    found, asked, anger, fear, neutral, lost = map(int, re.search(
        r"Clips: (\d+) found, (\d+) may be asked, .*?\((\d+) anger, (\d+) fear, (\d+) neutral\), (\d+) excluded", told
    ).groups())  # fmt: skip
    assert (anger, fear, neutral) == (40, 40, 40)
    assert (found, asked) == (450, 120)
    assert lost == 330


TINY = """
name = "official"
[model]
allow_trained_on = true
[[corpora]]
id = "table"
root = "TABLE"
[identify]
split = "official"
scope = "all"
minimum = 1
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = [1.0]
positions = []
reliance = false
generate = false
[controls]
matched = 1
random = 0
shuffled = 0
"""


def voices(table: Path, takes: tuple[int, ...] = (1, 2), speakers: str = "12345") -> Path:
    rows = ["path,emotion,speaker,split"]
    for take in takes:
        for speaker in speakers:
            for code, emotion in (("a", "anger"), ("s", "fear"), ("n", "neutral")):
                path = polish_folder() / f"m{speaker}.{code}_nie_{take}.flac"
                rows.append(f"{path},{emotion},m{speaker},{'train' if take == 1 else 'test'}")
    table.write_text("\n".join(rows))
    return table


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.mark.long
def test_a_run_stores_how_many_speakers_are_shared_and_its_report_begins_with_it(tmp_path: Path, model) -> None:
    study = parse_study(TINY.replace("TABLE", str(voices(tmp_path / "clips.csv"))))
    run = run_study(study, tmp_path / "run", model=model)
    assert run.read_json("manifest.json")["speakers_shared"] == 5
    from emoscope.analysis.load import read_run
    from emoscope.chapters.results import compute_tables
    from emoscope.report.caveats import standing

    assert any(one.startswith("Speakers shared: 5.") for one in standing(compute_tables(read_run(run.path))))
    assert "Speakers shared: 5." in (run / "report.html").read_text()
    assert set(run.read_table("items").filter(pl.col("evaluated"))["split"]) == {"test"}


@pytest.mark.long
def test_files_that_are_added_move_no_speaker_of_a_begun_run(tmp_path: Path, model) -> None:
    table = voices(tmp_path / "clips.csv", takes=(1, 2), speakers="1234")
    study = parse_study(TINY.replace("TABLE", str(table)).replace('split = "official"', "folds = 2"))
    run = run_study(study, tmp_path / "run", model=model)
    assert run.read_json("manifest.json")["speakers_shared"] == 0
    before = fold_of_speaker(run)
    # a large new speaker, who would be dealt first in a run that begins, and more of one who is known
    rows = voices(tmp_path / "more.csv", takes=(1, 2, 3, 4, 5), speakers="5").read_text().splitlines()[1:]
    rows += voices(tmp_path / "more.csv", takes=(3, 4, 5), speakers="4").read_text().splitlines()[1:]
    table.write_text(table.read_text() + "\n" + "\n".join(rows))
    assert not finished(run, study, model)
    run = run_study(study, tmp_path / "run", model=model)
    after = fold_of_speaker(run)
    assert {speaker: after[speaker] for speaker in before} == before
    assert after.keys() == before.keys() | {"m5"}
    assert finished(run, study, model)
    other = parse_study(TINY.replace("TABLE", str(table)).replace('split = "official"', "folds = 2") + "")
    assert folds_dealt_before(run, other)
    reseeded = parse_study("seed = 1\n" + TINY.replace("TABLE", str(table)).replace('split = "official"', "folds = 2"))
    assert folds_dealt_before(run, reseeded) == {}


def fold_of_speaker(run: RunFolder) -> dict[str, str]:
    found: dict[str, set[str]] = defaultdict(set)
    for row in run.read_table("items").drop_nulls("fold").iter_rows(named=True):
        found[row["speaker"]].add(row["fold"])
    assert all(len(folds) == 1 for folds in found.values())
    return {speaker: folds.pop() for speaker, folds in found.items()}


def test_a_shared_speaker_is_told_where_the_study_allows_it(tmp_path: Path) -> None:
    study = parse_study(
        "[[corpora]]\nid = 'polish'\n[identify]\nfolds = 'word'\n[evaluate]\nallow_shared_speakers = true"
    )
    log = Log("quiet", tmp_path / "log.jsonl")
    candidate_items(study, study_corpus(study, corpus=open_corpus("polish")), log)
    assert "speakers shared: 5 (m1, m2, m3, m4, m5)" in (tmp_path / "log.jsonl").read_text()
