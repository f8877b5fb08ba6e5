"""Every study in the repository is one that can be run: it parses, and names corpora and models that are known."""

from __future__ import annotations

from pathlib import Path

import pytest

from emoscope.corpora import list_corpora
from emoscope.corpora.registry import check_corpus_id
from emoscope.experiments.new_study import paper_study, usual_study
from emoscope.experiments.parts import has_parts
from emoscope.experiments.study import StudyError, parse_study, read_study
from emoscope.models.families import releasing

ROOT = Path(__file__).parents[2]
PAPER = sorted((ROOT / "src" / "emoscope" / "data" / "paper").glob("*.toml"))
FILES = [*PAPER, *sorted((ROOT / "studies").rglob("*.toml"))]
ROOTS = {"iemocap": "$IEMOCAP", "meld": "$MELD", "msp-podcast": "$MSP_PODCAST"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_study_file_can_be_run(path: Path) -> None:
    study = read_study(path)
    for corpus in study.corpora:
        check_corpus_id(corpus.id)
        assert corpus.id == "polish" or corpus.root.startswith("$"), "a root is a folder of whoever runs it"
    if study.model.id != "tiny":
        assert study.model.side == releasing(study.model.id).side_checkpoints


def test_the_paper_is_nine_studies_and_one_of_all_corpora_for_each_model() -> None:
    studies = [read_study(path) for path in PAPER]
    pairs = {(study.model.id, study.corpus.id) for study in studies if not has_parts(study)}
    models = {model for model, _ in pairs}
    assert models == {"Qwen/Qwen2.5-Omni-7B", "moonshotai/Kimi-Audio-7B-Instruct", "nvidia/audio-flamingo-3-hf"}
    assert pairs == {(model, corpus) for model in models for corpus in ROOTS}
    assert {study.model.id for study in studies if has_parts(study)} == models
    assert len({study.name for study in studies}) == len(studies) == 12
    for study in studies:
        assert {corpus.id: corpus.root for corpus in study.corpora}.items() <= ROOTS.items()
        assert {corpus.loudness for corpus in study.corpora} == {"as recorded"}
        assert (study.headline.budget, study.headline.alpha) == (0.005, 0.5)
        assert (study.identify.items_per_emotion, study.evaluate.items_per_emotion) == (100, 150)
        assert study.identify.scope == "audio+answer"


def test_the_readme_names_every_file() -> None:
    text = (ROOT / "studies" / "paper" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{path.name}`" in text for path in PAPER)


USUAL_TASKS = {info.id: info.usual for info in list_corpora() if info.usual}


@pytest.mark.parametrize("corpus", USUAL_TASKS)
def test_a_new_study_of_a_known_corpus_asks_its_usual_task(corpus: str) -> None:
    text, task = usual_study("mine", corpus, "$ROOT"), USUAL_TASKS[corpus]
    study = parse_study(text)
    assert study.corpus.emotions == task.emotions
    assert study.corpus.merge == task.merge
    assert study.identify.folds == task.folds
    assert f"# The usual task of {corpus}: {task.about}." in text.splitlines()
    assert (study.name, study.corpus.root) == ("mine", "$ROOT")


def test_a_new_study_of_a_folder_or_table_names_it(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("path,emotion\n")
    for place, kind in ((tmp_path, "folder"), (tmp_path / "t.csv", "table")):
        found = parse_study(usual_study("s", str(place))).corpus
        assert (found.id, found.root) == (kind, str(place))


def test_a_new_study_takes_an_id_for_the_corpus_and_not_for_a_folder_beside_it(tmp_path: Path, monkeypatch) -> None:
    (tmp_path / "ravdess").mkdir()
    monkeypatch.chdir(tmp_path)
    # as the check and the study itself do
    assert parse_study(usual_study("s", "ravdess")).corpus.id == "ravdess"


def test_a_study_of_the_paper_is_written_as_it_is() -> None:
    assert paper_study("qwen-iemocap") == (PAPER[0].parent / "qwen-iemocap.toml").read_text(encoding="utf-8")
    with pytest.raises(StudyError, match=r"did you mean 'qwen-iemocap'.*flamingo-meld.*qwen-transfer"):
        paper_study("quen-iemocap")
