"""Whole small runs of the embedded model on some of the embedded voices."""

from __future__ import annotations

import gc
import json
import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import soundfile

from emoscope.chapters.results import write_tables
from emoscope.corpora import polish_folder
from emoscope.experiments import stages
from emoscope.experiments.engine import run_study
from emoscope.experiments.heard import batches, load_inputs
from emoscope.experiments.intervene import _ask, plan_work
from emoscope.experiments.record import finished
from emoscope.experiments.schema import Model, Study
from emoscope.experiments.stages import Task, find_sets, select, sets_by_fold
from emoscope.experiments.study import parse_study
from emoscope.interventions.kinds import DERIVED
from emoscope.models.passes import Starts
from emoscope.models.registry import load_model
from emoscope.neurons import selectors
from emoscope.runs import Log, RunFolder
from emoscope.vocabulary import AGNOSTIC
from tests.helpers.packs import unpacked
from tests.helpers.small_study import heard_before

SMALL = """
name = "small"
[model]
allow_trained_on = true
positions_per_batch = 1024
[[corpora]]
id = "polish"
where = { take = [1], word = ["nie", "tak"] }
[identify]
scope = "all"
items_per_emotion = 8
minimum = 2
selectors = ["mad", "cas"]
[headline]
selector = "mad"
[interventions]
alphas = [1.0]
positions = ["text"]
[controls]
matched = 2
random = 1
shuffled = 1
orthogonal = 0
"""


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory, model) -> RunFolder:
    return run_study(parse_study(SMALL), tmp_path_factory.mktemp("runs") / "small", model=model)


def contents(
    run: RunFolder, folders: tuple[str, ...] = ("answers", "units", "sets", "activity.zarr")
) -> dict[str, bytes]:
    files = [path for name in folders for path in (run / name).rglob("*") if path.is_file()]
    files += [run / f"{name}.parquet" for name in ("items", "sets", "conditions", "units", "neurons")]
    return {str(path.relative_to(run.path)): path.read_bytes() for path in sorted(files)}


def test_a_run_leaves_every_table_and_a_report(small: RunFolder) -> None:
    items, answers = small.read_table("items"), pl.read_parquet(small / "answers" / "*.parquet")
    conditions = small.read_table("conditions")
    assert (small / "report.html").stat().st_size > 10_000
    # of all units: one file of answers and one of cards for what was heard, and for what was asked
    kept = [path for name in ("answers", "units") for path in (small / name).rglob("*") if path.is_file()]
    assert len(kept) == 4
    manifest = small.read_json("manifest.json")
    assert manifest["counts"] == {"clips": 450, "used": 30, "not needed": 0, "excluded": 420, "quarantined": 0}
    assert items.filter(pl.col("evaluated"))["speaker"].n_unique() == 5
    asked = Counter(zip(answers["condition"], answers["scoring"], strict=True))
    for row in conditions.iter_rows(named=True):
        # those that are arithmetic on stored answers are not asked
        assert asked[row["condition"], "likelihood"] == (0 if row["kind"] in DERIVED else 30), row["condition"]
        assert asked[row["condition"], "generation"] == (30 if row["generated"] else 0), row["condition"]
    assert set(conditions["kind"]) == {"baseline", "null", "deactivate", "steer", "reliance", *AGNOSTIC}


def test_every_proof_ran_and_passed(small: RunFolder) -> None:
    proofs = small.read_json("manifest.json")["proofs"]
    assert {proof["status"] for proof in proofs} == {"passed"}
    assert {"site exact", "batch equals single", "weights unchanged by the run"} <= {proof["name"] for proof in proofs}


def test_no_clip_is_asked_under_a_set_that_its_speaker_helped_to_find(small: RunFolder, model) -> None:
    items = small.read_table("items").filter(pl.col("status") == "used")
    assert (items["fold"] == items["speaker"]).all()
    study = parse_study(SMALL)
    study = study.with_budget(model.info.recommended_budget)
    found = find_sets(small, study, items)
    # the sets of a fold are those of a corpus without that fold's speaker
    without = items.with_columns(
        pl.when(pl.col("speaker") == "m2").then(pl.lit("excluded")).otherwise(pl.col("status")).alias("status")
    )
    alone = find_sets(small, study, without)
    name = "mad@0.05:all"
    for emotion, neurons in found.sets[name, "m2"].items():
        assert neurons.tolist() == alone.sets[name, "all"][emotion].tolist()
    assert found.sets[name, "m2"]["anger"].tolist() != found.sets[name, "all"]["anger"].tolist()


def test_every_row_of_a_batch_gets_the_set_of_its_own_fold(small: RunFolder, model) -> None:
    listened = heard_before(Task(parse_study(SMALL), small, Log("quiet")), model)
    selected = select(listened)
    found, sets = selected.found, sets_by_fold(selected)
    conditions = small.read_table("conditions")
    condition = "steer/fear/mad@0.05:all~matched1/alpha=0.5"
    work = plan_work(listened.study, listened.items, conditions, sets, model)
    one = next(w for w in work if w.condition["condition"] == condition)
    seen = {}

    class Recorder:
        """The real model, with a note of the gains that each row was given."""

        info = model.info

        def score(self, rows, gains, start):
            for place in gains.places:
                seen[len(seen)] = [
                    part.layer * self.info.width + index
                    for part in gains.layers
                    for index in (np.arange(512) if part.columns is None else part.columns.numpy())[
                        part.gain[place] != 1
                    ]
                ]
            return model.score(rows, gains, start=start)

    prepared = load_inputs(small, [item["item"] for item in one.block])
    groups = [(list(range(len(one.block))), lambda: model.batch(prepared))]
    list(_ask([one], groups, sets, Recorder(), Log("quiet"), Starts(model), 0))
    for row, item in enumerate(one.block):
        wanted = found.sets["mad@0.05:all~matched1", item["fold"]]["fear"]
        assert seen[row] == wanted.tolist(), item["clip"]


def test_a_changed_recording_a_changed_batch_and_a_damaged_answer_are_noticed(tmp_path: Path, model) -> None:
    voices = tmp_path / "voices"
    for clip in polish_folder().glob("m[12345].?_nie_1.flac"):
        emotion = {"a": "anger", "s": "fear", "n": "neutral"}[clip.name[3]]
        (voices / emotion).mkdir(parents=True, exist_ok=True)
        shutil.copy(clip, voices / emotion / f"{clip.name[:2]}-{clip.name}")
    text = SMALL.replace(
        'id = "polish"', f'id = "folder"\nroot = "{voices}"\npattern = "{{emotion}}/{{speaker}}-{{}}.flac"'
    )
    text = text.replace('where = { take = [1], word = ["nie", "tak"] }', "").replace("minimum = 2", "minimum = 1")
    text = text.replace("[interventions]", "[interventions]\nreliance = false\ngenerate = false")
    text = text.replace("matched = 2\nrandom = 1\nshuffled = 1", "matched = 0\nrandom = 0\nshuffled = 0")
    study = parse_study(text)
    run = run_study(study, tmp_path / "run", model=model)
    assert finished(run, study, model)
    answers = next((run / "answers").glob("*.parquet"))
    whole = answers.read_bytes()
    answers.write_bytes(whole[:-1])
    assert not finished(run, study, model)
    answers.write_bytes(whole)
    assert finished(run, study, model)
    before = run.read_table("units")["unit"].to_list()
    smaller = parse_study(text.replace("positions_per_batch = 1024", "positions_per_batch = 512"))
    run_study(smaller, run.path, model=model)
    assert run.read_table("units").filter(pl.col("stage") == "listen").height == 1
    assert not set(before) & set(run.read_table("units")["unit"])
    one = next((voices / "fear").glob("*.flac"))
    shutil.copy(polish_folder() / "m1.s_tak_1.flac", one)
    assert not finished(run, smaller, model)


def test_letter_probabilities_and_answers_agree(small: RunFolder) -> None:
    answers = pl.read_parquet(small / "answers" / "*.parquet").filter(pl.col("scoring") == "likelihood")
    names = ["anger", "fear", "neutral"]
    best = [names[int(np.argmax(logp))] for logp in answers["logp"].to_list()]
    assert best == answers["answer"].to_list()
    mass = np.exp(np.array(answers["logp"].to_list())).sum(1)
    np.testing.assert_allclose(mass, answers["letter_mass"].to_numpy(), rtol=1e-6)


def test_all_mlps_off_leaves_other_answers_than_the_baseline(small: RunFolder) -> None:
    answers = pl.read_parquet(small / "answers" / "*.parquet").filter(pl.col("scoring") == "likelihood")
    uar = {c: float(g["correct"].mean()) for (c,), g in answers.group_by("condition")}  # type: ignore[arg-type]
    assert uar["baseline"] > 0.8
    assert uar["reliance/all"] < 0.6


def test_a_second_run_does_no_model_work(small: RunFolder, tmp_path: Path) -> None:
    before = contents(small)
    log = Log("quiet", tmp_path / "log.jsonl")
    run_study(parse_study(SMALL), small.path, log)
    log.close()
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["say"]
    assert contents(small) == before


def test_a_run_that_lost_units_ends_with_the_same_bytes(small: RunFolder, tmp_path: Path, model) -> None:
    shutil.copytree(small.path, tmp_path / "again")
    again, before = RunFolder(tmp_path / "again"), contents(small)
    unpacked(again)
    cards = sorted((again / "units").glob("*.json"))
    for card in cards[::3]:
        card.unlink()
        (again / "answers" / f"{card.stem}.parquet").unlink()
    (again / "answers" / f".{cards[0].stem}.parquet.partial1").write_bytes(b"half a file")
    run_study(parse_study(SMALL), again.path, model=model)
    (again / "answers" / f".{cards[0].stem}.parquet.partial1").unlink()
    assert contents(again) == before


class StopsAtAnswers(Log):
    """Stops a run when the first answers under an intervention are there."""

    def event(self, name: str, /, **fields: object) -> None:
        if name == "unit" and fields["stage"] == "intervening":
            raise KeyboardInterrupt
        super().event(name, **fields)


def pages(run: RunFolder) -> dict[str, bytes]:
    found = [run / "report.html", *(run / "tables").glob("*"), *(run / "figures").glob("*")]
    return {str(path.relative_to(run.path)): path.read_bytes() for path in found if path.is_file()}


def test_pages_of_an_earlier_state_are_gone_while_a_run_goes_on(small: RunFolder, tmp_path: Path, model) -> None:
    shutil.copytree(small.path, tmp_path / "again")
    run, before = RunFolder(tmp_path / "again"), pages(small)
    more = SMALL.replace("alphas = [1.0]", "alphas = [1.0, 2.0]")
    with pytest.raises(KeyboardInterrupt):
        run_study(parse_study(more), run.path, StopsAtAnswers("quiet"), model=model)
    assert "report.html" in before
    assert pages(run) == {}
    with pytest.MonkeyPatch.context() as patch:  # the study as it was: its pages still hold, and are not made again
        patch.setattr("emoscope.chapters.results.write_tables", None)
        run_study(parse_study(SMALL), run.path, model=model)
    assert pages(run) == before
    run_study(parse_study(more), run.path, model=model)
    assert pages(run)["tables/effects.csv"] != before["tables/effects.csv"]
    assert not (run / "cache" / "earlier").exists()


def test_tables_of_an_unfinished_run_are_made_again_at_its_end(small: RunFolder, tmp_path: Path, model) -> None:
    shutil.copytree(small.path, tmp_path / "again")
    run, before = unpacked(RunFolder(tmp_path / "again")), pages(small)
    asked = pl.col("condition").str.starts_with("deactivate/anger/mad")
    (run / f"units/{run.read_table('units').filter(asked)['unit'][0]}.json").unlink()
    write_tables(run.path)  # as `emoscope report` does
    assert pages(run)["tables/effects.csv"] != before["tables/effects.csv"]
    run_study(parse_study(SMALL), run.path, model=model)
    assert pages(run)["tables/effects.csv"] == before["tables/effects.csv"]


def test_an_edited_study_re_uses_what_still_applies(small: RunFolder, tmp_path: Path, model) -> None:
    shutil.copytree(small.path, tmp_path / "edited")
    run = RunFolder(tmp_path / "edited")
    old, log = run.units(), Log("quiet", tmp_path / "log.jsonl")
    run_study(parse_study(SMALL.replace("alphas = [1.0]", "alphas = [1.0, 2.0]")), run.path, log, model=model)
    log.close()
    new = run.units()
    assert new > old
    asked = (tmp_path / "log.jsonl").read_text().count('"event": "unit"')
    assert (
        len(new) - len(old) == asked == 9
    )  # three emotions and two matched draws of each, steered at one more strength
    assert set(run.read_table("units")["unit"]) == new
    run_study(parse_study(SMALL), run.path, model=model)
    assert set(run.read_table("units")["unit"]) == old
    assert run.units() == new


@pytest.mark.long
def test_a_selector_whose_code_changed_is_run_again(small: RunFolder, tmp_path: Path, model, monkeypatch) -> None:
    monkeypatch.setattr(selectors, "SELECTORS", dict(selectors.SELECTORS))
    shutil.copytree(small.path, tmp_path / "own")
    selectors.register("highest", lambda given: given.mean)
    study = parse_study(SMALL.replace('selectors = ["mad", "cas"]', 'selectors = ["mad", "highest"]'))
    run = run_study(study, tmp_path / "own", model=model)
    effects = run.read_table("tables/effects")
    own = effects.filter((pl.col("selector") == "highest") & (pl.col("measure") == "gap"))
    assert set(own["kind"]) == {"deactivate", "steer"}
    assert finished(run, study, model)
    selectors.register("highest", lambda given: given.mean - given.mean.mean(axis=0))
    assert not finished(run, study, model)


@pytest.mark.long
def test_a_bad_clip_is_quarantined_and_the_run_goes_on(tmp_path: Path, model, monkeypatch) -> None:
    voices = tmp_path / "voices"
    voices.mkdir()
    for clip in polish_folder().glob("m[12345].?_nie_[12].flac"):
        emotion = {"a": "anger", "s": "fear", "n": "neutral"}[clip.name[3]]
        (voices / emotion).mkdir(exist_ok=True)
        shutil.copy(clip, voices / emotion / f"{clip.name[:2]}-{clip.name}")
    (voices / "fear" / "m1-broken.flac").write_bytes(b"not sound")
    (voices / "fear" / "m1-empty.flac").write_bytes(b"")
    noise = np.random.default_rng(0).normal(0, 0.1, int(6.5 * 16_000))
    soundfile.write(voices / "fear" / "m1-long.flac", noise, 16_000)
    monkeypatch.setattr(model.processor, "max_audio_len", 6)
    study = parse_study(
        SMALL.replace('id = "polish"', f'id = "folder"\nroot = "{voices}"\npattern = "{{emotion}}/{{speaker}}-{{}}.flac"')
        .replace('where = { take = [1], word = ["nie", "tak"] }', "")
        .replace("[interventions]", "[interventions]\nreliance = false\ngenerate = false")
    )  # fmt: skip
    run = run_study(study, tmp_path / "run", model=model)
    counts = run.read_json("manifest.json")["counts"]
    assert counts == {"clips": 33, "used": 30, "not needed": 0, "excluded": 0, "quarantined": 3}
    why = run.read_table("items").filter(pl.col("status") == "quarantined")["why"].to_list()
    assert any("empty" in reason for reason in why)
    assert "longer than the 6 s that the model takes" in why


def test_batches_hold_every_row_once_and_keep_their_size() -> None:
    class Row:
        def __init__(self, length: int) -> None:
            self.scopes = np.zeros(length)

    rows = [Row(length) for length in (5, 9, 5, 30, 2, 9)]
    groups = batches(rows, 20)  # type: ignore[arg-type]
    assert sorted(row for group in groups for row in group) == list(range(6))
    assert all(len(g) == 1 or len(g) * max(len(rows[r].scopes) for r in g) <= 20 for g in groups)


def test_a_default_study_is_complete() -> None:
    assert Study().corpus.id == "polish"


@pytest.mark.parametrize("searched", [True, False])
def test_loading_leaves_the_search_for_garbage_as_it_was(searched):
    (gc.enable if searched else gc.disable)()
    try:
        stages.load(Model(), Log("quiet"))
        assert gc.isenabled() == searched
    finally:
        gc.enable()
