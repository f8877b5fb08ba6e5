"""What a terminal says of a run and of the sound of its clips: the same by a check, a dry run and a run."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoscope.chapters.results import write_tables
from emoscope.cli import corpus_check
from emoscope.corpora import open_corpus, polish_folder
from emoscope.corpora.check import warnings_of
from emoscope.experiments.engine import run_study
from emoscope.experiments.parts import dry_run
from emoscope.experiments.result import Result, print_result
from emoscope.experiments.schema import Study
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.runs import Log, RunFolder
from emoscope.wording import number
from tests.helpers.packs import unpacked
from tests.helpers.runs import write_simulation
from tests.helpers.small_study import SMALL


def finished(folder, **more):
    """A simulated run as far as a terminal reads it."""
    write_simulation(folder, "bias", clips=4, matched=1, **more)
    manifest = json.loads((folder / "manifest.json").read_text())
    headline = {"selector": "cas", "budget": 0.05, "scope": "all", "alpha": 0.5}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"headline": headline, "emotions": ["anger"]}))
    write_tables(folder)
    return RunFolder(folder)


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """A model at chance, and nobody knows who spoke."""
    return finished(tmp_path_factory.mktemp("lost"), speakers=None, bonus=0.0, recordings=6)


def as_one_line(text):
    return re.sub(r"\s+", " ", text).strip()


def test_chance_and_unknown_voices_come_before_any_number(lost, capsys):
    print_result(lost)
    printed = as_one_line(capsys.readouterr().out)
    before = re.split(r"\d", printed)[0]
    assert before.startswith("The untouched model is not clearly above chance: ")
    assert " Speakers unknown: the same voice may be on both sides." in before
    assert before.endswith("no conclusion is drawn. UAR ")
    assert "Name the speakers" in printed
    printed = repr(Result.of(lost))
    assert printed.startswith("The untouched model is not clearly above chance: ")
    assert re.split(r"\d", printed)[0].endswith("Result(cas: gap −")


def test_the_blind_part_stands_beside_the_gap(tmp_path, capsys):
    run = finished(tmp_path, speakers=6)
    result = Result.of(run)
    print_result(run)
    printed = as_one_line(capsys.readouterr().out)
    assert printed.startswith("UAR")
    assert result.blind.sentence() in printed
    part = 1.5 * result.measure("excess_pull_overall")["estimate"]
    assert part < -5
    assert "\nResult(cas: gap −" in repr(result)
    assert f"excess gap {number(result.excess_gap['estimate'])} points [−" in repr(result)
    assert f"], blind part {number(part)}; in " in repr(result)


STUDY = (
    """
[[corpora]]
id = "table"
root = "TABLE"
"""
    + SMALL
)

TOLD = [
    "2 clips (such as m1.s_nie_4): its channels cancel each other: the louder one is heard alone",
    "1 clip of far more sound than their rows say, such as m1.a_nie_5: 1.4 s, listed 0.300 s; all of it is heard",
]


@pytest.fixture
def table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two speakers; the channels of two clips cancel, and one clip is far longer than its row says."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # as if the files had been there for a minute
    monkeypatch.setattr("emoscope.files.FRESH_S", -60.0)
    rows = ["path,emotion,speaker,duration"]
    for clip in sorted(polish_folder().glob("m[12].?_nie_[45].flac")):
        samples, rate = soundfile.read(clip)
        if clip.stem in ("m1.s_nie_4", "m2.n_nie_5"):
            both = [samples, -0.9 * samples] if clip.stem.startswith("m1") else [0.9 * samples, -samples]
            soundfile.write(tmp_path / clip.name, np.stack(both, axis=1), rate)
        else:
            shutil.copy(clip, tmp_path / clip.name)
        seconds = 0.3 if clip.stem == "m1.a_nie_5" else len(samples) / rate
        emotion = {"a": "anger", "s": "fear", "n": "neutral"}[clip.name[3]]
        rows.append(f"{clip.name},{emotion},{clip.name[:2]},{seconds:.2f}")
    (tmp_path / "table.csv").write_text("\n".join(rows))
    return tmp_path / "table.csv"


def study_of(table: Path, text: str = STUDY) -> Study:
    return parse_study(text.replace("TABLE", str(table)))


def said(log: Path) -> list[str]:
    events = map(json.loads, log.read_text(encoding="utf-8").splitlines())
    return [event["text"] for event in events if event["event"] == "say"]


def test_a_run_tells_once_what_a_check_tells_and_keeps_it(table: Path, tmp_path: Path) -> None:
    assert warnings_of(open_corpus(table).summary()) == TOLD
    model = load_model("tiny")
    (tmp_path / "run").mkdir()
    run = run_study(study_of(table), tmp_path / "run", Log("quiet", tmp_path / "log.jsonl"), model)
    assert [one for one in said(tmp_path / "log.jsonl") if one[:-1] in TOLD] == [f"{one}." for one in TOLD]
    assert run.read_json("manifest.json")["corpora"][0]["told"] == TOLD
    page = (run / "report.html").read_text(encoding="utf-8")
    assert [page.count(sentence) for sentence in TOLD] == [1, 1]
    # what was heard is not heard again, and is told again
    (run / "manifest.json").unlink()
    run_study(study_of(table), run.path, Log("quiet", tmp_path / "again.jsonl"), model)
    assert [one for one in said(tmp_path / "again.jsonl") if one[:-1] in TOLD] == [f"{one}." for one in TOLD]
    assert run.read_json("manifest.json")["corpora"][0]["told"] == TOLD


@pytest.mark.long
def test_a_run_of_an_earlier_version_is_told_of_as_far_as_it_is_known(table: Path, tmp_path: Path) -> None:
    model = load_model("tiny")
    run = run_study(study_of(table), tmp_path / "run", model=model)
    (run / "manifest.json").unlink()
    for card in (unpacked(run) / "units").glob("*.json"):
        content = json.loads(card.read_text())
        content["notes"].pop("told", None)
        card.write_text(json.dumps(content))
    run_study(study_of(table), run.path, model=model)
    assert run.read_json("manifest.json")["corpora"][0]["told"] == TOLD[1:]


def test_a_level_that_is_left_alone_is_told_of_as_it_was_heard(table: Path, tmp_path: Path) -> None:
    soundfile.write(
        table.parent / "m1.a_nie_4.flac", 0.4 + 0.1 * np.random.default_rng(0).normal(0, 0.3, 16_000), 16_000
    )
    study = study_of(table, STUDY.replace('root = "TABLE"', 'root = "TABLE"\nloudness = "as recorded"'))
    run = run_study(study, tmp_path / "run", model=load_model("tiny"))
    assert run.read_json("manifest.json")["corpora"][0]["told"] == TOLD
    assert any("below 20 Hz" in sentence for sentence in warnings_of(open_corpus(table).summary()))


@pytest.mark.long
def test_parts_of_one_corpus_are_told_of_once(table: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = study_of(table, STUDY.replace("matched = 0", "matched = 1") + '[probes]\ngrounding = ["noise"]\n')
    open_corpus(table).check()
    dry_run(study)
    shown = " ".join(capsys.readouterr().out.split())
    assert [shown.count(sentence) for sentence in TOLD] == [1, 1]
    (tmp_path / "run").mkdir()
    run_study(study, tmp_path / "run", Log("quiet", tmp_path / "log.jsonl"), load_model("tiny"))
    assert [one for one in said(tmp_path / "log.jsonl") if one[:-1] in TOLD] == [f"{one}." for one in TOLD]


def test_a_dry_run_tells_what_a_check_found_and_decodes_nothing(
    table: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def shown(text: str = STUDY) -> str:
        capsys.readouterr()
        dry_run(study_of(table, text))
        return " ".join(capsys.readouterr().out.split())

    assert not any(sentence in shown() for sentence in TOLD)
    corpus_check(str(table))
    monkeypatch.setattr("emoscope.corpora.audio.hear", None)
    assert all(f"{sentence}." in shown() for sentence in TOLD)
    # a check hears clips with their level normalised
    recorded = shown(STUDY.replace('root = "TABLE"', 'root = "TABLE"\nloudness = "as recorded"'))
    assert [sentence in recorded for sentence in TOLD] == [False, True]
    # a file that has changed since is not known
    soundfile.write(table.parent / "m1.a_nie_5.flac", np.random.default_rng(0).normal(0, 0.1, 16_000), 16_000)
    assert [sentence in shown() for sentence in TOLD] == [True, False]
