"""Units of another number of threads are asked anew, or taken where some of their answers, asked again, are alike."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import polars as pl
import pytest
import torch

from emoscope.experiments.stages import Task, listen
from emoscope.experiments.study import parse_study
from emoscope.models.registry import load_model
from emoscope.models.values import ProofFailed
from emoscope.runs import Log, RunFolder
from tests.helpers.packs import unpacked
from tests.helpers.program import UNDRAWN

STUDY = """
name = "machines"
[model]
equality = "tolerance"
[[corpora]]
where = { take = [3] }
clips_per_emotion = 6
[identify]
minimum = 1
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = []
agnostic = []
positions = []
reliance = false
generate = false
[controls]
matched = 0
random = 0
shuffled = 0
orthogonal = 0
"""


def asked(folder: Path, threads: int, study: str = STUDY) -> int:
    """Run the study with so many threads: the exit code."""
    (folder / "study.toml").write_text(study)
    command = [*UNDRAWN, "run", "study.toml", "--out", "run", "--log", "quiet"]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    return subprocess.run(command, cwd=folder, env=environment, check=False).returncode


def machines(run: RunFolder) -> dict[str, str]:
    """Unit -> threads of the machine that its card names."""
    cards = {unit: run.card(unit) or {} for unit in run.units()}
    return {unit: card["notes"]["machine"].split(", ")[1] for unit, card in cards.items()}


def shown(run: RunFolder) -> dict[str, object]:
    """The row of the manifest's proofs."""
    (proof,) = [one for one in run.read_json("manifest.json")["proofs"] if one["name"] == "other machines answer alike"]
    return dict(proof)


@pytest.fixture
def threads() -> Iterator[None]:
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def test_listening_takes_alike_answers_of_other_threads_and_refuses_others(tmp_path: Path, threads: None) -> None:
    run, model = RunFolder(tmp_path / "run", create=True), load_model("tiny")
    task = Task(parse_study(STUDY), run, Log("quiet"))
    torch.set_num_threads(1)
    (unit,) = listen(task, model).units
    assert not list(run.path.glob("cache/agreement-*"))
    torch.set_num_threads(2)
    assert listen(task, model).units == (unit,)
    assert machines(run) == {unit: "1 threads"}
    (kept,) = run.path.glob("cache/agreement-*")
    ((machine, difference),) = json.loads(kept.read_text()).items()
    assert machine.startswith("cpu, 1 threads, ")
    assert 0 <= difference <= 1e-4
    # the first machine looks at nothing, as all are its own
    torch.set_num_threads(1)
    listen(task, model)
    assert list(run.path.glob("cache/agreement-*")) == [kept]
    # of what was compared before nothing is asked again
    (answers,) = unpacked(run).answers([unit])
    other = pl.col("logp").list.eval(pl.element() - 0.01)
    path = run.write_table(f"answers/{unit}", answers.with_columns(logp=other))
    card = run.read_json(f"units/{unit}.json")
    run.write_json(f"units/{unit}.json", card | {"answers": sha256(path.read_bytes()).hexdigest()})
    torch.set_num_threads(2)
    listen(task, model)
    kept.unlink()
    with pytest.raises(ProofFailed, match=r"all are equal, and log-probabilities differ by up to 0.01, allowed 0.0001"):
        listen(task, model)
    assert machines(run) == {unit: "1 threads"}


@pytest.mark.long
@pytest.mark.journey
def test_a_run_that_goes_on_with_other_threads_keeps_what_is_done_and_says_so(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", create=True)
    assert asked(tmp_path, 1) == 0
    assert (shown(run)["status"], shown(run)["measured"]) == ("not run", None)
    first = machines(run)
    assert set(first.values()) == {"1 threads"}
    # as if the run had been killed: what is missing is asked with two threads, and the rest is kept
    acting = run.read_table("units").filter(stage="intervene")["unit"].to_list()
    unpacked(run)
    for unit in acting[::2]:
        (run / f"units/{unit}.json").unlink()
    assert asked(tmp_path, 2) == 0
    assert machines(run) == first | dict.fromkeys(acting[::2], "2 threads")
    assert (shown(run)["status"], shown(run)["tolerance"]) == ("passed", 1e-4)
    assert f"{len(acting[::2])} on cpu, 2 threads" in str(shown(run)["note"])
    assert "other machines answer alike" in (run / "report.html").read_text()


@pytest.mark.long
@pytest.mark.journey
def test_by_default_units_of_another_number_of_threads_are_asked_anew(tmp_path: Path) -> None:
    run, study = RunFolder(tmp_path / "run", create=True), STUDY.replace('equality = "tolerance"\n', "")
    assert asked(tmp_path, 1, study) == 0
    first = machines(run)
    (run / "manifest.json").unlink()
    assert asked(tmp_path, 2, study) == 0
    assert set(first).isdisjoint(run.read_table("units")["unit"])
    assert {machines(run)[unit] for unit in run.read_table("units")["unit"]} == {"2 threads"}
    assert "other machines" not in str(run.read_json("manifest.json")["proofs"])
