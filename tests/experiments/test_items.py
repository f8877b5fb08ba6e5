"""Candidate items; folds, the corpus's own split, and what stands on both sides."""

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
from emoscope.experiments.items import (
    candidate_items,
    folds_assigned_before,
    shared_speakers,
    study_corpus,
    study_options,
)
from emoscope.experiments.parts import dry_run
from emoscope.experiments.record import finished
from emoscope.experiments.schema import StudyError
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.runs import Log, RunFolder


def waiting() -> pl.Expr:
    return pl.col("status").is_null()


def polish(text: str = ""):
    study = parse_study("[[corpora]]\nid = 'polish'\nwhere = { take = [1], word = ['nie', 'tak'] }\n" + text)
    return study, study_corpus(study)


def test_every_clip_of_the_corpus_has_a_row_and_a_status() -> None:
    study, corpus = polish()
    items = candidate_items(study, corpus)
    assert items["clip"].n_unique() == 450
    assert items["status"].null_count() == 30
    assert items.filter(items["status"] == "excluded").height == 420
    assert items["item"].to_list() == list(range(450))


def test_right_letters_are_balanced_within_speaker_and_emotion() -> None:
    study = parse_study("[[corpora]]\nid = 'polish'\nwhere = { take = [1, 2] }")
    heard = candidate_items(study, study_corpus(study)).filter(waiting())
    places = Counter(
        (row["speaker"], row["truth"], row["options"].index(row["truth"])) for row in heard.iter_rows(named=True)
    )
    assert set(places.values()) == {4}  # 12 clips a speaker and emotion, 3 letters


def test_all_letter_orders_put_the_truth_behind_every_letter_once() -> None:
    study, corpus = polish("[question]\nletter_orders = 'all'")
    items = candidate_items(study, corpus).filter(waiting())
    assert items.height == 90
    for (_clip,), orders in items.group_by("clip"):
        assert sorted(o["options"].index(o["truth"]) for o in orders.to_dicts()) == [0, 1, 2]


def test_the_first_items_go_round_all_speakers_and_emotions() -> None:
    study, corpus = polish()
    first = candidate_items(study, corpus).head(15)
    assert len(set(zip(first["speaker"], first["truth"], strict=True))) == 15


def test_clips_on_which_the_model_was_trained_are_excluded_and_counted() -> None:
    study = parse_study("[[corpora]]\nid = 'polish'")
    corpus = study_corpus(study, [{"corpus": "polish", "where": {"take": [1, 2]}}, {"corpus": "emogator", "where": {}}])
    assert len(corpus.clips) == 270
    assert Counter(lost.why for lost in corpus.lost) == {"trained on by this model": 180}
    allowed = parse_study("[model]\nallow_trained_on = true\n[[corpora]]\nid = 'polish'")
    assert len(study_corpus(allowed, [{"corpus": "polish", "where": {"take": [1, 2]}}]).clips) == 450


def test_fixed_sides_keep_speakers_apart() -> None:
    study, corpus = polish("[identify]\nwhere = { speaker = ['m1', 'm2'] }\n[evaluate]\nwhere = { speaker = ['m3'] }")
    items = candidate_items(study, corpus)
    sides = Counter(zip(items["side"], items["speaker"], strict=True))
    assert sides["identify", "m1"] == sides["identify", "m2"] == sides["evaluate", "m3"] == 6
    assert items.filter(items["why"] == "on neither side").height == 12
    for text, said in (
        (
            "[identify]\nwhere = { word = 'nie' }\n[evaluate]\nwhere = { word = 'tak' }",
            r"5 speaker\(s\) are in several sides",
        ),
        (
            "[identify]\nwhere = { speaker = ['m1'] }\n[evaluate]\nwhere = { speaker = ['m1'] }",
            "clips are on both sides",
        ),
        ("[identify]\nwhere = { speaker = ['m1'] }\n[evaluate]\nwhere = { speaker = ['m9'] }", "accepts no clip"),
    ):
        study, corpus = polish(text)
        with pytest.raises(ValueError, match=said):
            candidate_items(study, corpus)


def test_options_are_in_canonical_order_and_at_least_two(tmp_path: Path) -> None:
    study, corpus = polish()
    assert study_options(study, corpus) == ("anger", "fear", "neutral")
    (tmp_path / "happy").mkdir()
    soundfile.write(tmp_path / "happy" / "a.wav", np.zeros(1600), 16000)
    alone = parse_study("[[corpora]]\nid = 'folder'\nroot = 'x'")
    with pytest.raises(StudyError, match="at least two labels"):
        study_options(alone, study_corpus(alone, corpus=open_corpus("folder", tmp_path)))


def test_filters_that_leave_nothing_say_what_there_is() -> None:
    study = parse_study("[[corpora]]\nid = 'polish'\nwhere = { take = [9] }")
    with pytest.raises(ValueError, match="take holds 1, 2, 3, 4, 5"):
        study_corpus(study)


def test_folds_that_split_a_speaker_are_refused_unless_allowed_by_name() -> None:
    study, corpus = polish("[identify]\nfolds = 'word'")
    with pytest.raises(StudyError, match=r"5 speaker\(s\) are in several folds, such as 'm1'"):
        candidate_items(study, corpus)
    study, corpus = polish("[identify]\nfolds = 'word'\n[evaluate]\nallow_shared_speakers = true")
    assert set(candidate_items(study, corpus).filter(waiting())["fold"]) == {"nie", "tak"}


def test_a_recording_under_two_names_is_used_once(tmp_path: Path) -> None:
    generator = np.random.default_rng(0)
    for speaker in ("s1", "s2", "s3"):
        for emotion in ("anger", "fear"):
            (tmp_path / emotion).mkdir(exist_ok=True)
            soundfile.write(tmp_path / emotion / f"{speaker}_a.wav", generator.normal(0, 0.1, 3200), 16000)
    (tmp_path / "fear" / "s3_b.wav").write_bytes((tmp_path / "fear" / "s1_a.wav").read_bytes())
    study = parse_study("[[corpora]]\nid = 'folder'")
    corpus = open_corpus("folder", tmp_path, pattern="{emotion}/{speaker}_{}.wav")
    items = candidate_items(study, study_corpus(study, corpus=corpus))
    out = items.filter(pl.col("status") == "excluded")
    assert out["clip"].to_list() == ["fear/s3_b"]
    assert out["why"].to_list() == ["same recording (as fear/s1_a, speaker s1)"]


def test_items_say_the_block_or_else_the_speaker() -> None:
    items = candidate_items(*polish()).filter(waiting())
    assert set(items["block"]) == {"nie 1", "tak 1"}
    rows = [
        {"path": file.name, "emotion": emotion, "speaker": file.name[:2], **block}
        for n, file in enumerate(sorted(polish_folder().glob("m[1-5].a_nie_*.flac"))[:6])
        for emotion, block in [(("anger", "fear")[n % 2], {"block": f"room {n // 2}"})]
    ]
    for named, expected in ((True, {f"room {n}" for n in range(3)}), (False, {row["speaker"] for row in rows})):
        given = rows if named else [{name: row[name] for name in row if name != "block"} for row in rows]
        corpus = open_corpus(given, audio_root=polish_folder())
        found = candidate_items(parse_study(""), corpus).filter(waiting())
        assert set(found["block"]) == expected


def test_clips_without_a_speaker_are_left_out_and_told_unless_the_study_keeps_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = tmp_path / "clips.csv"
    files = [f"m{speaker}.{code}_nie_{take}.flac" for speaker in (1, 2, 3) for code in "as" for take in (1, 2)]
    rows = [f"{file},{'anger' if '.a' in file else 'fear'},{file[:2] if n else ''}" for n, file in enumerate(files)]
    table.write_text("\n".join(["path,emotion,speaker", *rows]))
    text = f'[[corpora]]\nid = "table"\nroot = "{table}"\naudio_root = "{polish_folder()}"\n[evaluate]\nkeep_unknown_speakers = '
    text = text.replace("[evaluate]", "[model]\nallow_trained_on = true\n[evaluate]")
    left_out, kept = (parse_study(text + keep) for keep in ("false", "true"))
    assert candidate_items(left_out, study_corpus(left_out)).filter(status="excluded")["why"].to_list() == [
        "its speaker is not given"
    ]
    assert candidate_items(kept, study_corpus(kept))["status"].null_count() == 12
    for study, said in (
        (left_out, "1 of 12 clips has no speaker and is left out"),
        (kept, "1 of 12 clips has no speaker: speakers count as unknown"),
    ):
        for asked in (study, study.pilot(2)):
            dry_run(asked)
            assert said in " ".join(capsys.readouterr().out.split())
            candidate_items(asked, study_corpus(asked), Log("bars"))  # as a run says it
            assert said in " ".join("".join(capsys.readouterr()).split())


def test_a_cap_on_clips_counts_every_emotion() -> None:
    study = parse_study("[[corpora]]\nid = 'polish'\nclips_per_emotion = 4")
    items = candidate_items(study, study_corpus(study))
    assert Counter(items.filter(waiting())["truth"]) == {"anger": 4, "fear": 4, "neutral": 4}
    assert items.filter(pl.col("status") == "not needed").height == 438
    assert items.filter(waiting())["item"].to_list() == list(range(12))


def test_an_emotion_that_the_filters_took_away_is_named() -> None:
    text = (
        "[[corpora]]\nid = 'polish'\nemotions = ['anger', 'fear', 'neutral']\nwhere = { emotion = ['anger', 'fear'] }"
    )
    study = parse_study(text)
    with pytest.raises(StudyError, match=r"\['neutral'\]: no clip"):
        candidate_items(study, study_corpus(study))


def test_one_voice_can_be_cross_fitted_over_its_recordings() -> None:
    study, corpus = polish("[identify]\nfolds = 3")
    corpus = corpus.where({"speaker": ["m1"]})
    assert set(candidate_items(study, corpus).filter(waiting())["fold"]) == {"fold1", "fold2", "fold3"}
    study, _ = polish()
    with pytest.raises(ValueError, match=r"identify\.folds = 5 cross-fits over its recordings"):
        candidate_items(study, corpus)


def test_several_wordings_are_asked_of_every_clip_in_the_same_letter_orders() -> None:
    study, corpus = polish("[question]\nwording = ['lettered', 'listed']\nletter_orders = 2")
    items = candidate_items(study, corpus).filter(waiting())
    assert items.height == 30 * 2 * 2
    for (_clip,), asked in items.group_by("clip"):
        assert asked.sort("item")["wording"].to_list() == ["lettered", "lettered", "listed", "listed"]
        by_wording = asked.sort("item").group_by("wording").agg("options", "order")
        assert by_wording["options"][0].to_list() == by_wording["options"][1].to_list()
        # the items of a clip stand together: listening stops between clips only
        assert asked["item"].max() - asked["item"].min() == 3
    one, _ = polish("[question]\nletter_orders = 2")
    alone = candidate_items(one, corpus).filter(waiting())
    of_lettered = items.filter(pl.col("wording") == "lettered")
    assert of_lettered.select("clip", "options").equals(alone.select("clip", "options"))


@pytest.mark.parametrize("wording", ["[]", "['listed', 'listed']", "['listed', 'lettred']", "'lettred'"])
def test_wordings_that_cannot_be_asked(wording: str) -> None:
    with pytest.raises(StudyError, match=r"question\.wording"):
        parse_study(f"[question]\nwording = {wording}")


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
    out = items.filter(pl.col("status") == "excluded")
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
orthogonal = 0
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
    from emoscope.analysis.parts import StudyRuns
    from emoscope.chapters.results import compute_tables
    from emoscope.report.caveats import standing

    found = StudyRuns.alone(compute_tables(read_run(run.path)))
    assert any(one.startswith("Speakers shared: 5.") for one in standing(found))
    assert "Speakers shared: 5." in (run / "report.html").read_text()
    assert set(run.read_table("items").filter(pl.col("evaluated"))["split"]) == {"test"}


@pytest.mark.long
def test_files_that_are_added_move_no_speaker_of_a_begun_run(tmp_path: Path, model) -> None:
    table = voices(tmp_path / "clips.csv", takes=(1, 2), speakers="1234")
    study = parse_study(TINY.replace("TABLE", str(table)).replace('split = "official"', "folds = 2"))
    run = run_study(study, tmp_path / "run", model=model)
    assert run.read_json("manifest.json")["speakers_shared"] == 0
    before = fold_of_speaker(run)
    # a large new speaker, who would be assigned first in a run that begins, and more of one who is known
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
    assert folds_assigned_before(run, other)
    reseeded = parse_study("seed = 1\n" + TINY.replace("TABLE", str(table)).replace('split = "official"', "folds = 2"))
    assert folds_assigned_before(run, reseeded) == {}


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
