from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from emoscope.runs import RunFolder, Shard
from emoscope.runs.folder import _machine
from emoscope.runs.shards import DEAD_S, InUse, at_work, locked, refuse_in_use


def left_by(process: int, machine: str, path: Path, began: str | None = None) -> None:
    path.write_text(json.dumps({"process": process, "machine": machine, "began": began}))


def test_shards_work_beside_each_other_but_not_beside_the_whole(tmp_path: Path) -> None:
    one, two = Shard(1, 2), Shard(2, 2)
    with locked(tmp_path, one), locked(tmp_path, two):
        assert at_work(tmp_path, one)
        with pytest.raises(InUse, match=f"process {os.getpid()} on .* on --shard 1/2"), locked(tmp_path, one):
            pass
        with pytest.raises(InUse, match="on --shard 1/2"), locked(tmp_path):
            pass
        with pytest.raises(InUse, match="--out"):
            refuse_in_use(tmp_path)
    with locked(tmp_path), pytest.raises(InUse), locked(tmp_path, one):
        pass
    assert not list(tmp_path.iterdir())
    refuse_in_use(tmp_path)


def test_the_lock_of_a_process_that_is_gone_is_taken_over(tmp_path: Path) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    left_by(gone.pid, socket.gethostname(), tmp_path / "lock.json")
    with locked(tmp_path):
        assert json.loads((tmp_path / "lock.json").read_text())["process"] == os.getpid()
    # a number that another process has by now
    left_by(os.getpid(), socket.gethostname(), tmp_path / "lock.json", began="1")
    with locked(tmp_path):
        pass


def test_a_lock_of_another_machine_counts_while_it_is_touched(tmp_path: Path) -> None:
    left_by(1, "elsewhere", tmp_path / "lock.json")
    with pytest.raises(InUse, match="process 1 on elsewhere"), locked(tmp_path):
        pass
    old = time.time() - DEAD_S - 1
    os.utime(tmp_path / "lock.json", (old, old))
    with locked(tmp_path):
        pass


def test_files_that_another_machine_writes_are_left_alone(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, create=True)
    here, there, old = (run / "answers" / f".a.parquet.partial4000000@{name}" for name in (_machine(), "abc", "def"))
    for path in (here, there, old):
        path.touch()
    long_ago = time.time() - 25 * 3600
    os.utime(old, (long_ago, long_ago))
    RunFolder(tmp_path, create=True)
    assert (here.exists(), there.exists(), old.exists()) == (False, True, False)
