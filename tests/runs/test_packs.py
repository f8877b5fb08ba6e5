"""Answers that are packed: the same answers, whatever happens while they are moved."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path

import polars as pl
import pytest

from emoscope.runs import RunFolder, Unit
from emoscope.runs.folder import check_unit

UNITS = [Unit({"stage": "listen" if number < 3 else "intervene", "number": number}) for number in range(8)]
IDS = [unit.id for unit in UNITS]


def answers(number: int) -> pl.DataFrame:
    return pl.DataFrame({"item": [number, number + 100], "logp": [[-1.0, -float(number)], [-0.5, None]]})


@pytest.fixture
def run(tmp_path: Path) -> RunFolder:
    run = RunFolder(tmp_path / "run", create=True)
    for number, unit in enumerate(UNITS):
        unit.finish(run, answers(number), {"told": {"a": number}})
    return run


def files(run: RunFolder) -> dict[str, bytes]:
    return {str(path.relative_to(run.path)): path.read_bytes() for path in run.path.rglob("*") if path.is_file()}


def packs(run: RunFolder) -> list[Path]:
    return sorted((run / "units" / "packs").glob("*.json"))


def holds_all(run: RunFolder) -> bool:
    same = all(frame.equals(answers(number)) for number, frame in enumerate(run.answers(IDS)))
    return same and run.units() == set(IDS) and all(unit.done(run) for unit in UNITS)


def test_packed_units_are_read_as_before_from_two_files(run: RunFolder) -> None:
    keys = [run.card(unit)["key"] for unit in IDS]  # type: ignore[index]
    run.pack(IDS)
    assert len(files(run)) == 2
    for folder in (run, RunFolder(run.path)):
        assert holds_all(folder)
        assert [folder.card(unit)["key"] for unit in IDS] == keys  # type: ignore[index]
        assert [unit.notes(folder)["told"]["a"] for unit in UNITS] == list(range(8))
    # whoever reads all files of answers finds every answer once
    assert pl.read_parquet(run / "answers" / "*.parquet").height == 16
    assert (run.card("other"), check_unit(run, "other")) == (None, "unit other has no card")
    with pytest.raises(FileNotFoundError, match="not come that far"):
        run.answers([*IDS, "other"])


def test_units_stay_in_files_of_their_own_until_they_are_packed(run: RunFolder) -> None:
    assert len(files(run)) == 16
    assert holds_all(run)
    run.pack(IDS[:3])
    assert len(files(run)) == 12
    assert holds_all(run)


def test_a_folder_ends_with_the_same_bytes_in_whatever_steps_it_was_packed(run: RunFolder, tmp_path: Path) -> None:
    other = RunFolder(shutil.copytree(run.path, tmp_path / "other"))
    run.settle(IDS[:3], IDS[3:])
    for step in (IDS[4:6], IDS[6:], IDS[2:3], IDS[3:6], reversed(IDS[1:3])):
        other.pack(step)
        assert holds_all(other)
    other.settle(IDS[2::-1], IDS[:2:-1])
    assert len(files(other)) == 4
    assert files(other) == files(run)
    run.settle(IDS[:3], IDS[3:])
    assert files(other) == files(run)


def test_units_of_another_study_stay_beside_those_that_are_listed(run: RunFolder) -> None:
    run.settle(IDS)
    # the study is edited: two units are no longer asked; then asked again
    run.settle(IDS[2:])
    assert len(packs(run)) == 2
    assert holds_all(run)
    run.settle(IDS)
    assert len(packs(run)) == 1
    assert holds_all(run)


@pytest.mark.parametrize("harm", [lambda content: content[:-9], lambda content: content[:60] + b"x" + content[61:]])
def test_a_damaged_pack_is_found_and_its_units_are_done_anew(run: RunFolder, harm) -> None:
    pristine = (run.pack(IDS[:3]), run.pack(IDS[3:]))[0]
    assert pristine is not None
    damaged, before = run / "answers" / f"{pristine.stem}.parquet", files(run)
    damaged.write_bytes(harm(damaged.read_bytes()))
    again = RunFolder(run.path)
    assert [unit.done(again) for unit in UNITS] == [False] * 3 + [True] * 5
    assert check_unit(again, IDS[0]) == f"{damaged} was changed after it was written"
    with pytest.raises(ValueError, match="was changed after it was written"):
        again.answers(IDS)
    for number, unit in enumerate(UNITS[:3]):
        assert again.pack(IDS[:3]) is None or number
        unit.finish(again, answers(number), {"told": {"a": number}})
    assert holds_all(again)
    again.settle(IDS[:3], IDS[3:])
    assert files(again) == before
    assert holds_all(again)


def test_a_pack_that_lost_its_answers_or_cards_counts_for_nothing(run: RunFolder) -> None:
    first, second = run.pack(IDS[:3]), run.pack(IDS[3:6])
    assert first
    assert second
    (run / "answers" / f"{first.stem}.parquet").unlink()
    second.write_text('{"answers": ')
    again = RunFolder(run.path)
    assert [unit.done(again) for unit in UNITS] == [False] * 6 + [True] * 2
    assert again.units() == set(IDS[6:])
    again.settle(IDS)
    assert again.units() == set(IDS[6:])


def test_changed_answers_are_not_packed(run: RunFolder) -> None:
    run.write_table(f"answers/{IDS[0]}", answers(5))
    run.pack(IDS)
    assert not UNITS[0].done(run)
    assert [unit.done(run) for unit in UNITS[1:]] == [True] * 7
    assert (run / "units" / f"{IDS[0]}.json").is_file()


def test_what_is_dropped_is_not_done_wherever_it_was(run: RunFolder) -> None:
    run.pack(IDS[1:5])

    def heard(key: Mapping[str, object]) -> bool:
        return key["stage"] == "listen"

    run.drop(heard)
    assert [unit.done(run) for unit in UNITS] == [False] * 3 + [True] * 5
    assert run.units() == set(IDS[3:])


def test_what_a_killed_process_left_of_a_pack_is_removed(run: RunFolder) -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    run.pack(IDS)
    left = run / "units" / "packs" / f".pack-1.json.partial{ended.pid}"
    left.touch()
    assert holds_all(RunFolder(run.path, create=True))
    assert not left.exists()


STEPS = """
import os, signal, sys
from emoscope.runs import RunFolder
left, units = int(sys.argv[2]), sys.argv[3:]
def count(event, given):
    # what changes a folder: a file opened to be written, renamed or removed
    global left
    if event in ("os.rename", "os.remove") or event == "open" and given[1] and "w" in str(given[1]):
        left -= 1
        if not left:
            os.kill(os.getpid(), signal.SIGKILL)
run = RunFolder(sys.argv[1])
run.pack(units[2:4])
sys.addaudithook(count)
run.settle(units[:3], units[3:])
"""


@pytest.mark.parametrize("moment", [*range(1, 14), 20, 26])
def test_a_kill_at_any_moment_loses_no_answer_and_changes_no_end(run: RunFolder, tmp_path: Path, moment: int) -> None:
    other = RunFolder(shutil.copytree(run.path, tmp_path / "other"))
    done = subprocess.run([sys.executable, "-c", STEPS, str(run.path), str(moment), *IDS], check=False)
    assert done.returncode == -signal.SIGKILL
    again = RunFolder(run.path, create=True)
    assert holds_all(again)
    again.settle(IDS[:3], IDS[3:])
    other.settle(IDS[:3], IDS[3:])
    assert files(again) == files(other)


PACKS = """
import sys
from emoscope.runs import RunFolder
from tests.runs.test_packs import UNITS, answers
run = RunFolder(sys.argv[1])
units = [(n, unit) for n, unit in enumerate(UNITS) if n % 2 == int(sys.argv[2])]
for _ in range(40):
    for n, unit in units:
        unit.finish(run, answers(n), {"told": {"a": n}})
        run.pack([unit.id])
    run.pack([unit.id for _, unit in units[:2]])
    run.pack([unit.id for _, unit in units])
"""


def test_processes_that_pack_at_once_are_read_whole(run: RunFolder) -> None:
    there = [subprocess.Popen([sys.executable, "-c", PACKS, str(run.path), str(share)]) for share in (0, 1)]
    looks, reader = 0, RunFolder(run.path)
    while any(process.poll() is None for process in there):
        assert holds_all(reader), looks
        looks += 1
        time.sleep(0.001)
    assert [process.returncode for process in there] == [0, 0]
    assert looks > 10
    assert len(packs(run)) == 2
    run.settle(IDS)
    assert (len(packs(run)), holds_all(run), os.listdir(run / "answers")) == (
        1,
        True,
        [f"{packs(run)[0].stem}.parquet"],
    )


def test_nothing_stays_beside_the_packs_of_a_finished_run(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, create=True)
    units = [Unit({"number": number}) for number in range(4)]
    for unit in units:
        unit.finish(run, answers(1))
    # as a kill leaves it, or a study that listens anew: answers without a card; and a card that cannot be read
    (run / f"units/{units[0].id}.json").unlink()
    (run / "units" / "packs").mkdir()
    (run / "units" / "packs" / "pack-half.json").write_text("{")
    run.settle([units[1].id], [units[2].id])
    kept = {path.stem for path in (run / "answers").iterdir()}
    assert kept == {path.stem for path in (run / "units" / "packs").iterdir()}
    assert len(kept) == 3
    assert run.units() == {unit.id for unit in units[1:]}
