"""A study done in shards by several processes at once ends with the bytes of the study done by one."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import polars as pl
import pytest

from emoscope.experiments.intervene import evaluated_blocks
from emoscope.runs import RunFolder
from tests.helpers.program import UNDRAWN, inside

STUDY = """
name = "sharded"
[model]
allow_trained_on = true
[[corpora]]
id = "polish"
[identify]
scope = "all"
items_per_emotion = 12
minimum = 2
selectors = ["mad"]
[evaluate]
items_per_emotion = 8
[headline]
selector = "mad"
[interventions]
alphas = []
agnostic = []
positions = []
reliance = false
generate = false
[controls]
matched = 1
random = 0
shuffled = 1
orthogonal = 1
"""
"""Quotas are filled after two or three of the seven blocks that could be heard."""


def start(folder: Path, *further: str) -> subprocess.Popen[str]:
    (folder / "study.toml").write_text(STUDY)
    command = [*UNDRAWN, "run", "study.toml", "--out", "run", "--log", "quiet", *further]
    return subprocess.Popen(command, cwd=folder, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    _, said = process.communicate(timeout=1200)
    return process.returncode, said


def merged(folder: Path) -> int:
    """Run or merge the study inside this process, and give the exit code."""
    (folder / "study.toml").write_text(STUDY)
    return inside("run", "study.toml", "--out", "run", "--log", "quiet", cwd=folder).returncode


def results(run: RunFolder) -> dict[str, bytes]:
    """Every file that states a result; of the activity store and the cache, what the result rests on."""
    units = run.read_table("units")["unit"].to_list()
    packs = [pack for unit in units if (pack := run.packed(unit))]
    assert len(packs) == len(units)
    files = sorted({file for pack in packs for file in (pack.path, pack.card)})
    files += [path for name in ("sets", "tables", "figures") for path in (run / name).rglob("*") if path.is_file()]
    files = [path for path in files if path.suffix != ".pdf"]  # drawn from the SVG, in an order that changes
    files += [run / f"{name}.parquet" for name in ("items", "sets", "conditions", "units", "neurons")]
    heard = run.read_table("items").filter(pl.col("status") == "used")["item"].max()
    for path in (run / "activity.zarr").rglob("c/**/*"):
        places = path.relative_to(run / "activity.zarr").parts  # array, c, of several parts their place, block …
        if path.is_file() and int(places[max(2, len(places) - 2)]) * 64 <= heard:  # type: ignore[operator]
            files.append(path)
    return {str(path.relative_to(run.path)): path.read_bytes() for path in files}


def heard_blocks(run: RunFolder) -> int:
    cards = [run.card(unit) or {} for unit in run.units()]
    return sum(card["key"]["stage"] == "listen" for card in cards)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    folder = tmp_path_factory.mktemp("whole")
    assert merged(folder) == 0
    run = RunFolder(folder / "run")
    assert heard_blocks(run) < 7
    assert len(evaluated_blocks(run.read_table("items"))) == 1
    return run


@pytest.mark.long
@pytest.mark.journey
@pytest.mark.parametrize("fails", [False, True])
def test_shards_that_work_at_once_give_the_bytes_of_one_process(whole: RunFolder, tmp_path: Path, fails: bool) -> None:
    shards = [start(tmp_path, "--shard", f"{number}/2") for number in (1, 2)]
    if fails:
        time.sleep(4)
        shards[1].send_signal(signal.SIGKILL)  # a machine that fails; the other waits for it while it thinks it works
        shards[1].wait()
        shards[1] = start(tmp_path, "--shard", "2/2")
    for number, (code, said) in enumerate([ended(shard) for shard in shards], 1):
        if code == 75:  # it looked while the other share was nobody's
            assert f"--shard {3 - number}/2" in said
            code, said = ended(start(tmp_path, "--shard", f"{number}/2"))
        assert code == 0, said
    run = RunFolder(tmp_path / "run")
    assert not (run / "manifest.json").exists()
    assert not list(run.path.glob("lock*"))
    before = run.units()
    assert merged(tmp_path) == 0
    # the merging call asked the model nothing
    assert '"event": "unit"' not in (run / "log.jsonl").read_text()
    assert run.units() == before
    # a pack of what was heard and one of what was asked, or another one of blocks that count for nothing
    assert len(list((run / "answers").iterdir())) <= 3
    assert results(run) == results(whole)
    # and the shards' shares were of like size
    done = [json.loads(line) for log in run.path.glob("log-*.jsonl") for line in log.read_text().splitlines()]
    shares = {event["shard"]: event["units"] for event in done if event["event"] == "share done"}
    assert max(shares.values()) - min(shares.values()) <= 2
    assert sum(shares.values()) == run.read_table("units").filter(pl.col("stage") == "intervene").height


@pytest.mark.long
@pytest.mark.journey
def test_a_shard_that_lacks_the_others_listening_says_which(whole: RunFolder, tmp_path: Path) -> None:
    code, said = ended(start(tmp_path, "--shard", "1/2"))
    assert code == 75, said
    assert "blocks are missing, of --shard 2/2, and no such process is at work here" in said
    assert said.rstrip().endswith("emoscope run study.toml --out run --log quiet --shard 1/2")
    # alone, it cannot know when the quotas are filled, nor what is asked of the sixth block on: it hears its half of five
    run = RunFolder(tmp_path / "run")
    assert heard_blocks(run) == 3
    # any call without a shard merges and does what is left
    assert merged(tmp_path) == 0
    assert heard_blocks(run) > heard_blocks(whole)
    assert results(run) == results(whole)
    # a shard of a finished run has nothing to do
    assert ended(start(tmp_path, "--shard", "2/2"))[0] == 0


@pytest.mark.long
@pytest.mark.journey
def test_more_shards_than_blocks_are_no_mistake(whole: RunFolder, tmp_path: Path) -> None:
    idle = start(tmp_path, "--shard", "9/9")
    shards = [start(tmp_path, "--shard", f"{number}/9") for number in (1, 2, 3)]
    # the fourth share is nobody's; nobody needs it if the quotas are filled before
    ends = [ended(process) for process in (idle, *shards)]
    assert {code for code, _ in ends} <= {0, 75}, ends
    assert merged(tmp_path) == 0
    assert results(RunFolder(tmp_path / "run")) == results(whole)


@pytest.mark.long
@pytest.mark.journey
def test_a_process_that_wants_the_folder_to_itself_is_refused_while_another_works(tmp_path: Path) -> None:
    first = start(tmp_path)
    while not (tmp_path / "run" / "lock.json").exists():
        time.sleep(0.05)
    code, said = ended(start(tmp_path))
    assert (code, f"process {first.pid} on " in said, "Traceback" in said) == (75, True, False), said
    assert ended(start(tmp_path, "--shard", "1/2"))[0] == 75
    code, said = ended(start(tmp_path, "--fresh"))
    assert (code, f"process {first.pid} on " in said) == (75, True), said
    first.send_signal(signal.SIGTERM)
    assert ended(first)[0] == 75
    assert not list((tmp_path / "run").glob("lock*"))


@pytest.mark.journey
def test_a_run_stops_after_a_time_and_can_go_on(tmp_path: Path) -> None:
    for seconds in (3, 6, 12, 24, 48):  # a busy machine may need longer until something is done
        code, said = ended(start(tmp_path, "--stop-after", f"{seconds}s"))
        assert code == 75, said
        assert not (tmp_path / "run" / "manifest.json").exists()
        if "no file is left half-written" not in said:
            break
    assert said.startswith("emoscope: stopped by --stop-after; what is done is kept in run (")
    again = f"emoscope run study.toml --out run --log quiet --stop-after {seconds}s"
    assert said.rstrip().endswith(f"goes on from there: {again}")


@pytest.mark.journey
@pytest.mark.parametrize(
    ("further", "said"),
    [
        (("--shard", "0/3"), "--shard '0/3' is no share"),
        (("--shard", "4/3"), "--shard '4/3' is no share"),
        (("--shard", "1/2", "--fresh"), "--fresh with --shard"),
        (("--stop-after", "soon"), "--stop-after 'soon' is not a time"),
        (("--stop-after", "0s"), "--stop-after '0s' is not a time"),
    ],
)
def test_a_share_or_time_that_cannot_be_is_refused(further: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text(STUDY)
    done = inside("run", "study.toml", "--out", "run", *further, cwd=tmp_path)
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.long
@pytest.mark.journey
def test_a_shard_with_other_threads_is_refused_and_spoils_nothing(tmp_path: Path) -> None:
    assert ended(start(tmp_path, "--shard", "1/2"))[0] == 75
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if "log" not in path.name}
    more = {"OMP_NUM_THREADS": "2" if os.environ.get("OMP_NUM_THREADS") == "1" else "1"}
    command = [*UNDRAWN, "run", "study.toml", "--out", "run", "--log", "quiet", "--shard", "2/2"]
    done = subprocess.run(
        command, cwd=tmp_path, env={**os.environ, **more}, capture_output=True, text=True, check=False
    )
    assert (done.returncode, "same number of threads" in done.stderr) == (2, True), done.stderr
    after = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").rglob("*") if "log" not in path.name}
    changed = {path.name for path in before if path.is_file() and after.get(path) != before[path]}
    assert changed <= {"study.toml", "proofs.json"}
