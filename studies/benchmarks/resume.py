"""Kill a run with SIGKILL at random moments, let it go on, and compare every file with an undisturbed run's.

    python studies/benchmarks/resume.py                       # the demo with 10 clips per emotion
    python studies/benchmarks/resume.py study.toml            # any study
    python studies/benchmarks/resume.py --pilot 0 --kills 8   # the whole demo

Moments are drawn from a seed, one from each equal part of the undisturbed run's duration, and are counted from the start
of each process. Where a process ends before its moment, the next one begins another run, so every kill is a kill.
Prints a table of the kills and "equal: N files", or the names that differ (exit code 1).
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from asked_run import command_and_folder, parser

from emoscope.runs import RunFolder

COMPARED = ("answers", "units", "sets", "activity.zarr", "tables")
"""Folders whose every file must be equal, beside the tables in the run folder itself; the rest holds times."""


def main() -> int:
    """Run, kill, resume, compare; returns the exit code."""
    wanted = parser(__doc__)
    wanted.add_argument("--kills", type=int, default=8)
    wanted.add_argument("--seed", type=int, default=0)
    given = wanted.parse_args()
    with command_and_folder(given, "resume") as (command, place):
        return measure(command, place, given.kills, given.seed)


def measure(command: Sequence[str], place: Path, kills: int, seed: int) -> int:
    """Make the undisturbed run and the killed ones, print the table, and compare."""
    whole = place / "whole"
    began = time.monotonic()
    finish(command, whole)
    duration = time.monotonic() - began
    generator = random.Random(seed)
    parts = [(part + generator.random()) / kills for part in range(kills)]
    generator.shuffle(parts)
    runs = [place / "killed-1"]
    print(f"Undisturbed: {duration:.1f} s, {count(whole)} units.\n")
    print("| kill | run | moment (s after the process started) | stage | units done |\n|---|---|---|---|---|")
    for number, part in enumerate(parts, start=1):
        while True:
            fresh, began = not runs[-1].exists(), time.monotonic()
            stage = killed(command, runs[-1], part * duration)
            if stage:
                break
            if fresh:
                # the machine has become faster, or has less else to do
                duration = time.monotonic() - began
            runs.append(place / f"killed-{len(runs) + 1}")
        print(f"| {number} | {len(runs)} | {part * duration:.2f} | {stage} | {count(runs[-1])} |", flush=True)
    differing: list[str] = []
    names = files(whole)
    for run in runs:
        finish(command, run)
        for name in sorted(names | files(run)):
            one, other = whole / name, run / name
            if not (one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()):
                differing.append(f"{run.name}/{name}")
    print()
    if differing:
        print(f"{len(differing)} files differ:", *differing, sep="\n")
        return 1
    print(f"equal: {len(names)} files" + (f" in each of {len(runs)} runs" if len(runs) > 1 else ""))
    return 0


def finish(command: Sequence[str], run: Path) -> None:
    """Run the program to its end."""
    subprocess.run([*command, "--out", str(run)], check=True, stdout=subprocess.DEVNULL)


def killed(command: Sequence[str], run: Path, moment: float) -> str:
    """Kill the program so many seconds after its start; gives its stage, or nothing where it had ended before."""
    log = run / "log.jsonl"
    before = log.stat().st_size if log.is_file() else 0
    process = subprocess.Popen([*command, "--out", str(run)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        process.wait(moment)
    except subprocess.TimeoutExpired:
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        return stage_of(log, before)
    if process.returncode:
        raise SystemExit(f"the program ended with exit code {process.returncode} and was not killed: see {run}")
    return ""


def stage_of(log: Path, before: int) -> str:
    """The stage in which the last session of a log was, from its last whole lines."""
    stage = "starting"
    session = log.read_bytes()[before:].decode() if log.is_file() else ""
    for line in session.splitlines():
        try:
            event = json.loads(line)
        except ValueError:
            continue
        if event["event"] == "stage":
            stage = event["stage"]
        elif event["event"] == "stage done":
            stage = f"after {event['stage']}"
    return {"after listening": "selecting", "after writing tables and report": "ending"}.get(stage, stage)


def count(run: Path) -> int:
    """Units that are done."""
    return len(RunFolder(run).units()) if run.is_dir() else 0


def files(run: Path) -> set[str]:
    """Names of all files that must be equal."""
    found = [path for name in COMPARED for path in (run / name).rglob("*") if path.is_file()]
    # a PDF is drawn from the SVG, with its fonts in an order that changes
    found = [path for path in found if path.suffix != ".pdf"]
    return {str(path.relative_to(run)) for path in (*found, *run.glob("*.parquet"))}


if __name__ == "__main__":
    sys.exit(main())
