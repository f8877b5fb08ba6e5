"""Kill a run with SIGKILL at random moments, let it go on, and compare every file with an undisturbed run's.

    python studies/benchmarks/resume.py                       # the demo with 10 clips per emotion
    python studies/benchmarks/resume.py study.toml            # any study
    python studies/benchmarks/resume.py --pilot 0 --kills 8   # the whole demo
    python studies/benchmarks/resume.py --pilot 0 --starts 5 --beside ../other/src   # what stands around the model's work

Moments are drawn from a seed, one from each equal part of the undisturbed run's duration, and are counted from the start
of each process. Where a process ends before its moment, the next one begins another run, so every kill is a kill.
Prints a table of the kills and "equal: N files", or the names that differ (exit code 1).

With ``--starts`` nothing is killed: a finished run loses six units, all pages and what was drawn, goes on, is run once more,
and its report is built from nothing and once more, so often, in turn with another version's source folder where one is given.
Printed are medians: seconds of the clock, without those of the units, and seconds of the processor, with those of the
processes that it started.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from statistics import median
from typing import Any

import polars as pl
from asked_run import command_and_folder, parser

from emoscope.runs import RunFolder, Unit

COMPARED = ("answers", "units", "sets", "activity.zarr", "tables")
"""Folders whose every file must be equal, beside the tables in the run folder itself; the rest holds times."""


def main() -> int:
    """Run, kill, resume, compare; returns the exit code."""
    wanted = parser(__doc__)
    wanted.add_argument("--kills", type=int, default=8)
    wanted.add_argument("--seed", type=int, default=0)
    wanted.add_argument("--starts", type=int, default=0, help="rounds of starts and ends instead of kills")
    wanted.add_argument("--beside", type=Path, help="source folder of another version, which is run in turn")
    given = wanted.parse_args()
    with command_and_folder(given, "resume") as (command, place):
        if given.starts:
            return starts(command, place, given.starts, given.beside, given.seed)
        return measure(command, place, given.kills, given.seed)


MISSING = 6
"""Units that a run lacks when it goes on."""


def starts(command: Sequence[str], place: Path, rounds: int, beside: Path | None, seed: int) -> int:
    """Time what stands around the model's work, in turn with another version, print medians, and compare the files."""
    sources = {"this": None, **({"beside": beside.resolve()} if beside else {})}
    for name, source in sources.items():
        timed([*command, "--out", str(place / f"whole-{name}")], source)
    found: dict[tuple[str, str], list[tuple[float, float]]] = {}
    for number in range(rounds):
        for name, source in sources.items():
            run, again = place / f"{name}-{number}", ("--out", str(place / f"{name}-{number}"))
            shutil.copytree(place / f"whole-{name}", run)
            lose(run, random.Random(seed + number))
            clock, processor = timed([*command, *again], source)
            own = sum(event["seconds"] for event in session(run / "log.jsonl", 0) if event["event"] == "unit")
            found.setdefault((f"resume with {MISSING} units missing", name), []).append((clock - own, processor))
            found.setdefault(("second run", name), []).append(timed([*command, *again], source))
            forget_pages(run)
            for what in ("report from nothing", "report once more"):
                found.setdefault((what, name), []).append(timed([*command[:3], "report", str(run)], source))
            # the other version has its recordings, whose paths are in items.parquet, in another folder
            if source is None and (differing := unequal(place / "whole-this", [run])):
                print(f"{len(differing)} files differ:", *differing, sep="\n")
                return 1
            shutil.rmtree(run)
    print(f"| medians of {rounds} | version | clock (s) | processor (s) |\n|---|---|---|---|")
    for (what, name), times in found.items():
        print(f"| {what} | {name} | " + " | ".join(f"{median(part):.2f}" for part in zip(*times, strict=True)) + " |")
    return 0


def lose(run: Path, generator: random.Random) -> None:
    """Take units and all that was made of the units from a finished run, as if it had been killed shortly before its end."""
    asked = pl.read_parquet(run / "units.parquet").filter(pl.col("condition") != "baseline")["unit"].unique().sort()
    lost = set(generator.sample(asked.to_list(), MISSING))
    for unit in lost:
        (run / "units" / f"{unit}.json").unlink(missing_ok=True)  # of a version that packs nothing
    RunFolder(run).drop(lambda key: Unit(key).id in lost)
    for name in ("manifest.json", "log.jsonl"):
        (run / name).unlink()
    forget_pages(run)


def forget_pages(run: Path) -> None:
    """Take tables and pages from a run, and what is kept of them."""
    for name in ("report.html", "cache/shown.json", "cache/figures.json"):
        (run / name).unlink(missing_ok=True)
    for name in ("tables", "figures"):
        shutil.rmtree(run / name)


def timed(command: Sequence[str], source: Path | None) -> tuple[float, float]:
    """Run a command to its end; gives seconds of the clock and of the processor."""
    environment = {**os.environ, **({"PYTHONPATH": str(source)} if source else {})}
    environment.pop("PYTHONDONTWRITEBYTECODE", None)  # otherwise modules are compiled in every start
    before, began = os.times(), time.monotonic()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, env=environment)
    after = os.times()
    return time.monotonic() - began, sum(after[2:4]) - sum(before[2:4])


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
    for run in runs:
        finish(command, run)
    names, differing = files(whole), unequal(whole, runs)
    print()
    if differing:
        print(f"{len(differing)} files differ:", *differing, sep="\n")
        return 1
    print(f"equal: {len(names)} files" + (f" in each of {len(runs)} runs" if len(runs) > 1 else ""))
    return 0


def unequal(whole: Path, runs: Sequence[Path]) -> list[str]:
    """Names of the files in which runs differ from a whole one."""
    differing: list[str] = []
    for run in runs:
        for name in sorted(files(whole) | files(run)):
            one, other = whole / name, run / name
            if not (one.is_file() and other.is_file() and one.read_bytes() == other.read_bytes()):
                differing.append(f"{run.name}/{name}")
    return differing


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
    for event in session(log, before):
        if event["event"] == "stage":
            stage = event["stage"]
        elif event["event"] == "stage done":
            stage = f"after {event['stage']}"
    return {"after listening": "selecting", "after writing tables and report": "ending"}.get(stage, stage)


def session(log: Path, before: int) -> Iterator[dict[str, Any]]:
    """The whole lines of a log from a place on."""
    for line in (log.read_bytes()[before:].decode() if log.is_file() else "").splitlines():
        with suppress(ValueError):
            yield json.loads(line)


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
