from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from emoscope.corpora import open_corpus
from emoscope.experiments.items import candidate_items, study_corpus, study_options
from emoscope.experiments.schema import StudyError
from emoscope.experiments.study import parse_study


def waiting() -> pl.Expr:
    return pl.col("fate").is_null()


def polish(text: str = ""):
    study = parse_study("[[corpora]]\nid = 'polish'\nwhere = { take = [1], word = ['nie', 'tak'] }\n" + text)
    return study, study_corpus(study)


def test_every_clip_of_the_corpus_has_a_row_and_a_fate() -> None:
    study, corpus = polish()
    items = candidate_items(study, corpus)
    assert items["clip"].n_unique() == 450
    assert items["fate"].null_count() == 30
    assert items.filter(items["fate"] == "excluded").height == 420
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
    out = items.filter(pl.col("fate") == "excluded")
    assert out["clip"].to_list() == ["fear/s3_b"]
    assert out["why"].to_list() == ["same recording (as fear/s1_a, speaker s1)"]


def test_a_cap_on_clips_counts_every_emotion() -> None:
    study = parse_study("[[corpora]]\nid = 'polish'\nclips_per_emotion = 4")
    items = candidate_items(study, study_corpus(study))
    assert Counter(items.filter(waiting())["truth"]) == {"anger": 4, "fear": 4, "neutral": 4}
    assert items.filter(pl.col("fate") == "not needed").height == 438
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
