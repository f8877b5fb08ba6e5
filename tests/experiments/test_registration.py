"""What was registered before a run is compared with what was run; what was changed, or came after, is named."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from msgspec.structs import replace

import emoscope as es
from emoscope.analysis.registration import AFTER, differences, registration_sentence
from emoscope.experiments.registration import (
    ENDING,
    KEPT,
    compared,
    declares,
    preregister,
    read_registration,
    take_registration,
)
from emoscope.experiments.schema import Study, StudyError
from emoscope.experiments.study import parse_study, read_study, to_toml
from emoscope.runs import RunFolder
from tests.helpers.program import figureless
from tests.helpers.small_study import SMALL


@pytest.fixture
def study() -> Study:
    return parse_study(SMALL)


@pytest.fixture
def file(tmp_path, study):
    path = tmp_path / "mine.toml"
    path.write_text(to_toml(study))
    return path


def test_what_is_run_as_registered_is_kept(tmp_path, study, file):
    found = preregister(study, file.with_suffix(ENDING))
    run = RunFolder(tmp_path / "run", create=True)
    take_registration(run, file)
    about = compared(run, study)["registration"]
    assert about == {"time": found["time"], "hash": found["hash"], "kept": True, "differs": []}
    assert "kept to what was registered" in registration_sentence({"registration": about})


@pytest.mark.parametrize(
    ("section", "field", "value", "told"),
    [
        ("headline", "budget", 0.02, "budget: None registered, 0.02 run"),
        ("headline", "alpha", 1.0, "dose.alpha: 0.5 registered, 1.0 run"),
        ("headline", "selector", "cas", "sets.selector: mad registered, cas run"),
        ("question", "letter_orders", 2, "question.letter_orders: 1 registered, 2 run"),
        ("controls", "matched", 19, "draws.matched: 0 registered, 19 run"),
        ("evaluate", "items_per_emotion", 10, "evaluate.items_per_emotion: 150 registered, 10 run"),
        ("identify", "folds", 5, "sets.folds: speaker registered, 5 run"),
    ],
)
def test_what_was_changed_since_is_named(tmp_path, study, file, section, field, value, told):
    preregister(study, file.with_suffix(ENDING))
    run = RunFolder(tmp_path / "run", create=True)
    take_registration(run, file)
    changed = replace(study, **{section: replace(getattr(study, section), **{field: value})})
    about = compared(run, changed)["registration"]
    assert not about["kept"]
    names = [one.partition(":")[0] for one in about["differs"]]
    assert (told in about["differs"], names) == (True, ["study", told.partition(":")[0]])
    assert told in registration_sentence({"registration": about})


def test_a_change_of_what_is_not_declared_shows_in_the_studys_hash(tmp_path, study, file):
    preregister(study, file.with_suffix(ENDING))
    run = RunFolder(tmp_path / "run", create=True)
    take_registration(run, file)
    (only,) = compared(run, replace(study, probes=replace(study.probes, items_per_emotion=7)))["registration"][
        "differs"
    ]
    assert only.startswith("study: ")


def test_other_rules_and_another_version_are_named(study):
    now = declares(study)
    assert differences(now | {"rules": "2"}, now) == [f"rules: 2 registered, {now['rules']} run"]
    assert differences(now | {"emoscope": "0.0.9"}, now) == [f"emoscope: 0.0.9 registered, {now['emoscope']} run"]
    assert differences({"a": {"b": 1}}, {"a": {"c": 1}}) == [
        "a.b: 1 registered, nothing run", "a.c: nothing registered, 1 run",
    ]  # fmt: skip


def test_what_is_registered_after_the_first_answers_is_not_kept(tmp_path, study, file):
    run = RunFolder(tmp_path / "run", create=True)
    (run / "answers" / "one.parquet").touch()
    preregister(study, file.with_suffix(ENDING))
    take_registration(run, file)
    assert compared(run, study)["registration"]["differs"] == [AFTER]
    # nor when it is taken again
    take_registration(run, file)
    assert not compared(run, study)["registration"]["kept"]


def test_a_run_keeps_the_registration_that_it_began_with(tmp_path, study, file):
    preregister(study, file.with_suffix(ENDING))
    run = RunFolder(tmp_path / "run", create=True)
    take_registration(run, file)
    (run / "answers" / "one.parquet").touch()
    take_registration(run, file)
    assert compared(run, study)["registration"]["kept"]
    other = tmp_path / "other.json"
    preregister(study, other, looks=2)
    with pytest.raises(StudyError, match="was begun with another registration"):
        take_registration(run, file, other)


def test_without_a_registration_nothing_is_said(tmp_path, study, file):
    run = RunFolder(tmp_path / "run", create=True)
    take_registration(run, file)
    take_registration(run, None)
    assert not (run / KEPT).exists()
    assert compared(run, study) == {}
    assert registration_sentence({}) is None
    with pytest.raises(FileNotFoundError, match="emoscope preregister STUDY"):
        take_registration(run, file, tmp_path / "none.json")


def test_a_registration_keeps_its_time_and_is_not_replaced(tmp_path, study):
    file = tmp_path / "a.json"
    found = preregister(study, file)
    text = file.read_text()
    assert preregister(study, file) == found
    assert file.read_text() == text
    with pytest.raises(StudyError, match="looks: 1 registered, 2 run"):
        preregister(study, file, looks=2)


def test_a_changed_registration_is_refused(tmp_path, study):
    file = tmp_path / "a.json"
    content = preregister(study, file)
    content["declares"]["budget"] = 0.3
    file.write_text(json.dumps(content))
    with pytest.raises(StudyError, match="was changed after it was written"):
        read_registration(file)
    file.write_text("[]")
    with pytest.raises(StudyError, match="is no registration"):
        read_registration(file)


def test_the_hash_is_that_of_the_content_alone(tmp_path, study):
    first, second = (preregister(study, tmp_path / name) for name in ("a.json", "b.json"))
    assert first["hash"] == second["hash"]
    assert first["declares"] == second["declares"] == json.loads(json.dumps(declares(study)))


@pytest.mark.journey
def test_a_run_says_whether_it_kept_to_its_registration(tmp_path, file, monkeypatch):
    figureless(monkeypatch)
    where = 'where = { take = [3], word = ["nie"] }'
    file.write_text(f'[[corpora]]\nid = "polish"\n{where}\n{SMALL}')
    preregister(read_study(file), file.with_suffix(ENDING))
    run = es.run(file, tmp_path / "run", log="quiet").run
    assert run.read_json("manifest.json")["registration"]["kept"]
    # the same folder, another strength: what was registered stays
    file.write_text(file.read_text().replace("alphas = [0.5]", "alphas = [0.5, 1.0]"))
    es.run(file, tmp_path / "run", log="quiet")
    about = run.read_json("manifest.json")["registration"]
    assert "dose.alphas: [0.5] registered, [0.5, 1.0] run" in about["differs"]


@pytest.mark.journey
def test_the_command_writes_beside_the_study(tmp_path, file):
    program = "import sys; from emoscope.cli import app; app(sys.argv[1:], result_action='return_value'); assert 'torch' not in sys.modules"
    done = subprocess.run(
        [sys.executable, "-c", program, "preregister", "mine.toml"], capture_output=True, text=True, cwd=tmp_path
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == read_registration(tmp_path / "mine.registration.json")


def test_an_imported_file_counts_by_what_was_run_of_it(tmp_path):
    def declared(folder: str, code: str) -> dict:
        place = tmp_path / folder
        place.mkdir()
        (place / "own.py").write_text(code)
        (place / "study.toml").write_text('name = "mine"\nimport = ["own.py"]\n')
        return declares(read_study(place / "study.toml"))

    first = declared("one", "OWN = 1\n")
    assert declared("elsewhere", "OWN = 1\n") == first
    assert declared("edited", "OWN = 2\n")["study"] != first["study"]
