"""Run a study in one process, then in shards at once in one folder, and compare every file that states a result.

    python studies/benchmarks/shards.py                       # the demo with 10 clips per emotion, two shards
    python studies/benchmarks/shards.py study.toml --pilot 0 --shards 4
    EMOSCOPE_DATA=... python studies/benchmarks/shards.py studies/benchmarks/many-clips.toml --pilot 0

Prints the time of each, of the merging call also that until tables begin, how many files each folder of the finished run
holds, and "equal: N files", or the names that differ (exit code 1). The activity store may hold blocks
that a shard heard before it could know that quotas were filled; no table rests on them, so they are not compared.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from asked_run import command_and_folder, parser

TABLES = ("items", "sets", "conditions", "units", "neurons")


def main() -> int:
    """Run both ways and compare; returns the exit code."""
    wanted = parser(__doc__)
    wanted.add_argument("--shards", type=int, default=2)
    given = wanted.parse_args()
    with command_and_folder(given, "shards") as (command, place):
        print(f"One process: {finish([command], place / 'whole'):.1f} s")
        shares = [[*command, "--shard", f"{number}/{given.shards}"] for number in range(1, given.shards + 1)]
        print(f"{given.shards} shards at once: {finish(shares, place / 'shards'):.1f} s")
        seconds = finish([command], place / "shards")
        until = seconds - drawing(place / "shards")
        print(f"Merging call: {seconds:.1f} s, of these {until:.1f} s until tables begin")
        files = [path.relative_to(place / "shards") for path in (place / "shards").rglob("*") if path.is_file()]
        counts = Counter(path.parts[0] if len(path.parts) > 1 else "beside them" for path in files)
        print(f"{len(files)} files: {', '.join(f'{name} {count}' for name, count in sorted(counts.items()))}")
        return compare(place / "whole", place / "shards")


def finish(commands: Sequence[Sequence[str]], run: Path) -> float:
    """Start commands together and again while they ask for it (code 75); gives the seconds they took."""
    began = time.monotonic()
    waiting = list(commands)
    while waiting:
        started = [
            (command, subprocess.Popen([*command, "--out", str(run)], stdout=subprocess.DEVNULL)) for command in waiting
        ]
        waiting = []
        for command, process in started:
            if process.wait() == 75:
                waiting.append(command)
            elif process.returncode:
                raise SystemExit(f"{' '.join(command)} ended with exit code {process.returncode}: see {run}")
    return time.monotonic() - began


def drawing(run: Path) -> float:
    """Seconds that the last call spent on tables and report."""
    events = [json.loads(line) for line in (run / "log.jsonl").read_text(encoding="utf-8").splitlines()]
    name = "writing tables and report"
    return float(
        next(event["seconds"] for event in reversed(events) if event.get("stage") == name and "seconds" in event)
    )


def compare(whole: Path, sharded: Path) -> int:
    """Compare what states a result, byte for byte."""
    names = {f"{table}.parquet" for table in TABLES}
    # of the answers those that count: a shard may have heard more, which lies in a pack of its own
    names |= {str(path.relative_to(whole)) for part in ("answers", "units") for path in (whole / part).rglob("pack-*")}
    for run in (whole, sharded):
        names |= {
            str(path.relative_to(run))
            for part in ("sets", "tables", "figures")
            for path in (run / part).rglob("*")
            if path.is_file() and path.suffix != ".pdf"  # drawn from the SVG, in an order that changes
        }
    differing = [name for name in sorted(names) if content(whole / name) != content(sharded / name)]
    print(*differing, f"{len(differing)} files differ" if differing else f"equal: {len(names)} files", sep="\n")
    return 1 if differing else 0


def content(path: Path) -> bytes | None:
    """A file's bytes, ``None`` where there is no file."""
    return path.read_bytes() if path.is_file() else None


if __name__ == "__main__":
    sys.exit(main())
