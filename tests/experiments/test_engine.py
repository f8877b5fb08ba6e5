"""A whole study of the embedded model in parts: sets of each act in the others, and nothing is done twice."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import polars as pl
import pytest

from emoscope.analysis.load import export_run, read_run
from emoscope.experiments.engine import StudyInParts, run_study, shared_spec
from emoscope.experiments.parts import plan_parts
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.neurons.sets import load_set
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import part_folders, refuse_study
from tests.helpers.packs import unpacked

FIGURES = "defined"

pytestmark = pytest.mark.long

WHOLE = """
name = "whole"
[[corpora]]
id = "polish"
where = { take = [3], word = ["nie", "tak"] }
[[corpora]]
id = "polish"
where = { take = [4], word = ["nie", "tak"] }
[identify]
scope = "all"
minimum = 2
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = []
positions = []
agnostic = []
reliance = false
generate = false
[controls]
matched = 1
random = 0
shuffled = 0
orthogonal = 0
[transfer]
matched = 1
fuse = ["joint"]
[probes]
columns = ["word"]
grounding = ["noise"]
items_per_emotion = 5
matched = 1
"""


@pytest.fixture(scope="module")
def model():
    return load_model("tiny")


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory, model) -> RunFolder:
    return run_study(parse_study(WHOLE), tmp_path_factory.mktemp("runs") / "whole", model=model)


def test_every_part_is_a_run_folder_of_its_own(whole: RunFolder) -> None:
    cards = whole.read_json("manifest.json")["parts"]
    assert [card["name"] for card in cards] == [
        "polish", "polish-2", "polish.word", "polish-2.word", "polish.shared", "polish-2.shared", "polish.noise",
        "polish-2.noise",
    ]  # fmt: skip
    assert not any(card["failed"] for card in cards)
    for folder in part_folders(whole.path):
        assert (folder / "tables" / "uar.parquet").is_file()
        assert (folder / "report.html").is_file() == (
            folder.name in {"polish", "polish-2", "polish.word", "polish-2.word"}
        )
    assert (whole / "report.html").is_file()
    # what belongs to parts only does not lie empty beside them
    assert not (whole / "answers").exists()


def test_sets_of_each_corpus_act_on_the_other_and_never_on_speakers_that_found_them(whole: RunFolder) -> None:
    run = read_run(whole / "parts/polish.shared")
    assert set(run.transferred) == {"polish", "polish-2", "fused: joint"}
    assert run.conditions["kind"].to_list() == ["baseline", "null"]
    own, other = run.transferred["polish"].sets, run.transferred["polish-2"].sets
    assert own["n"].unique().to_list() == other["n"].unique().to_list()
    # cross-fitted on its own corpus: fold by fold other neurons; those of another corpus are the same everywhere
    for sets, count in ((own, 5), (other, 1)):
        name = sets.filter(pl.col("control") == "target")["set"][0]
        key = "units.parquet"
        assert (whole / "parts/polish.shared" / key).is_file()
        assert sets.filter((pl.col("set") == name) & (pl.col("emotion") == "anger"))["fold"].n_unique() >= count
    steered = run.transferred["polish-2"].conditions.filter(pl.col("kind") == "steer")
    assert steered.height == 3 * 2  # three emotions, target and one matched control
    asked = run.transferred["polish-2"].answers
    assert asked.group_by("condition").len()["len"].unique().to_list() == [run.items["evaluated"].sum()]


def test_folds_are_those_of_the_main_part(whole: RunFolder) -> None:
    def folds(name: str) -> dict[str, str]:
        items = read_run(whole / f"parts/{name}").items.filter(pl.col("status") == "used")
        return dict(items.select("clip", "fold").iter_rows())

    main = folds("polish")
    for name in ("polish.word", "polish.shared", "polish.noise"):
        assert folds(name).items() <= main.items()


def test_sets_of_a_column_act_on_emotions_and_the_reverse(whole: RunFolder) -> None:
    main, word = read_run(whole / "parts/polish"), read_run(whole / "parts/polish.word")
    assert set(main.transferred) == {"polish.word"}
    assert set(word.transferred) == {"polish"}
    assert set(main.transferred["polish.word"].conditions["target"].drop_nulls()) == {"nie", "tak"}
    assert set(word.transferred["polish"].conditions["target"].drop_nulls()) == {"anger", "fear", "neutral"}
    # what a part's own tables say is of its own sets
    assert set(main.conditions["target"].drop_nulls()) == {"anger", "fear", "neutral"}
    effects = pl.read_parquet(whole / "parts/polish/tables/effects.parquet")
    assert set(effects["control"]) == {"target", "matched"}


def test_transferred_sets_are_those_of_the_same_fold(whole: RunFolder) -> None:
    main = read_run(whole / "parts/polish")
    transferred = read_run(whole / "parts/polish.word").transferred["polish"].sets
    own = main.sets.filter((pl.col("control") == "target") & (pl.col("fold") == "m1"))
    mine = transferred.filter((pl.col("control") == "target") & (pl.col("fold") == "m1"))
    assert mine["size_reached"].to_list() == own["size_reached"].to_list()
    assert load_set(whole / "parts/polish/sets", own["set"][0], "m1").keys() == set(mine["emotion"])


def test_a_finished_study_is_not_run_again(whole: RunFolder, model, tmp_path: Path) -> None:
    said = tmp_path / "log.jsonl"
    run_study(parse_study(WHOLE), whole.path, Log("quiet", said), model=model)
    assert "finished: nothing to run" in said.read_text()


@pytest.mark.long
def test_a_study_that_lost_units_ends_with_the_same_answers(whole: RunFolder, model, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(whole.path, tmp_path / "again"))
    unpacked(RunFolder(folder / "parts/polish.shared"))
    victims = sorted((folder / "parts/polish.shared/units").glob("*.json"))[::3]
    before = {path.stem: (folder / f"parts/polish.shared/answers/{path.stem}.parquet").read_bytes() for path in victims}
    for path in victims:
        path.unlink()
        (folder / f"parts/polish.shared/answers/{path.stem}.parquet").unlink()
    run_study(parse_study(WHOLE), folder.path, model=model)
    unpacked(RunFolder(folder / "parts/polish.shared"))
    for name, content in before.items():
        assert (folder / f"parts/polish.shared/answers/{name}.parquet").read_bytes() == content
    for part in part_folders(whole.path):
        for table in (part / "tables").glob("*.parquet"):
            assert table.read_bytes() == (folder / part.relative_to(whole.path) / "tables" / table.name).read_bytes()


@pytest.mark.long
def test_a_study_that_asks_less_leaves_nothing_of_what_was_asked_before(
    whole: RunFolder, model, tmp_path: Path
) -> None:
    folder = RunFolder(shutil.copytree(whole.path, tmp_path / "less"))
    less = WHOLE.replace("[transfer]", "[transfer]\nask = false").replace('["word"]\ngrounding = ["noise"]', "[]")
    run_study(parse_study(less), folder.path, model=model)
    assert [path.name for path in part_folders(folder.path)] == ["polish", "polish-2"]
    left = [
        folder / "agreement.parquet",
        *(folder / "parts/polish" / f"{n}.parquet" for n in ("transferred_sets", "set_activity")),
    ]
    assert not [path for path in left if path.exists()]
    assert pl.read_parquet(folder / "tables/selectivity.parquet").is_empty()
    assert pl.read_parquet(folder / "tables/agreement.parquet").is_empty()


def test_sets_that_are_transferred_have_their_letters_balanced_where_the_study_says_so(whole: RunFolder) -> None:
    study = parse_study(WHOLE.replace("[identify]", "[identify]\nbalance_letters = true"))
    parts, shared = plan_parts(study, [])
    spec = shared_spec(parts[-3].study.with_budget(0.05), shared)
    assert (parts[-3].role, spec.balance_letters) == ("shared", True)


def test_a_pilot_of_another_study_is_not_finished(whole: RunFolder, model) -> None:
    study = parse_study(WHOLE)
    parts, shared = plan_parts(study, [])
    asked = StudyInParts(study, whole, Log("quiet"), tuple(parts), shared, {})
    assert asked.finished(model)
    fulls = {part.name: part.study for part in parts if part.role == "main"}
    assert not dataclasses.replace(asked, fulls=fulls).finished(model)


def test_an_export_of_a_study_in_parts_holds_every_part(whole: RunFolder, tmp_path: Path) -> None:
    copy = export_run(whole.path, tmp_path / "copy")
    assert [path.name for path in part_folders(copy.path)] == [path.name for path in part_folders(whole.path)]
    assert set(read_run(copy / "parts/polish.shared").transferred) == {"polish", "polish-2", "fused: joint"}
    assert not list(copy.path.rglob("activity.zarr"))


def test_tables_of_an_ordinary_run_in_the_same_folder_are_not_exported(whole: RunFolder, tmp_path: Path) -> None:
    folder = RunFolder(shutil.copytree(whole.path, tmp_path / "before"))
    shutil.copyfile(folder / "parts/polish/items.parquet", folder / "items.parquet")  # with the paths of this machine
    copy = export_run(folder.path, tmp_path / "copy")
    assert [path.name for path in copy.path.glob("*.parquet")] == ["agreement.parquet"]


def test_commands_that_want_one_run_name_the_parts(whole: RunFolder) -> None:
    with pytest.raises(ValueError, match=r"a study of 8 parts: give the folder of one of them \(.*polish\.word"):
        refuse_study(whole.path)
    refuse_study(whole / "parts/polish")


def test_the_manifest_of_the_whole_says_which_part_is_which(whole: RunFolder) -> None:
    manifest = json.loads((whole / "manifest.json").read_text())
    cards = {card["name"]: card for card in manifest["parts"]}
    assert cards["polish-2.word"]["of"] == "polish-2"
    assert cards["polish.word"]["column"] == "word"
    assert cards["polish.noise"]["presentation"] == "noise"
    assert manifest["shared_emotions"] == ["anger", "fear", "neutral"]
