"""Change good inputs of every kind and print what became of them: ``python -m tests.mutations --count 2000 --seed 1``.

Every input is read in another process with a limit of memory and of processor time, so that one that ends or hangs the
process is counted like any other failure.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import select
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

LIMIT_S = 5.0
"""Processor time, in seconds, that reading one input may take beyond imports; the system ends the process then."""

WAIT_S = 300.0
"""Time by the clock after which a process that takes no processor time has surely stopped."""

ROOM = 4 << 30
"""Bytes of address space that a process may take beyond what it holds after its imports."""


def cases(count: int, seed: int, only: str = "") -> list[tuple[str, int, int, bool]]:
    """Which inputs are tried: kind, number, seed, and whether its change is harmless, as every fifth is."""
    from tests.mutations.kinds import KINDS
    from tests.mutations.model_kinds import MODELS

    kinds = [kind for kind in (*KINDS, *MODELS) if only in kind.name]
    harmless = [kind for kind in kinds if kind.harmless or kind.around]
    # of five in a row the first is harmless and the other four take the next four kinds
    names = [
        harmless[i // 5 % len(harmless)].name if i % 5 == 0 else kinds[(i - i // 5 - 1) % len(kinds)].name
        for i in range(count)
    ]
    return [(name, i, seed, i % 5 == 0) for i, name in enumerate(names)]


def verdicts(wanted: Sequence[tuple[str, int, int, bool]]) -> Iterator[tuple[str, str]]:
    """Outcome and reason of each case, in order."""
    worker = None
    for case in wanted:
        worker = worker or _Worker()
        found = worker.ask(case)
        if found is None:
            found = ["failed", worker.end()]
            worker = None
        yield found[0], found[1]
    if worker:
        worker.end()


class _Worker:
    """A process that reads inputs, one after the other."""

    def __init__(self) -> None:
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "HF_HUB_OFFLINE": "1"}
        self._cache = tempfile.TemporaryDirectory(prefix="mutations-cache-")
        environment["XDG_CACHE_HOME"] = self._cache.name
        self._process = subprocess.Popen([sys.executable, "-m", "tests.mutations", "--worker"], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, text=True, env=environment)  # fmt: skip

    def ask(self, case: tuple[str, int, int, bool]) -> list[str] | None:
        """Its verdict; ``None`` where the process has ended or stands still."""
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(case) + "\n")
        self._process.stdin.flush()
        if not select.select([self._process.stdout], [], [], WAIT_S)[0]:
            return None
        line = self._process.stdout.readline()
        found: list[str] | None = json.loads(line) if line else None
        return found

    def end(self) -> str:
        """End the process, and say how it ended where it did so itself."""
        assert self._process.stdin
        self._process.stdin.close()
        try:
            code = self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
            return f"stood still for {WAIT_S:g} s"
        self._cache.cleanup()
        took = f"took more than {LIMIT_S:g} s of processor time"
        return took if code == -signal.SIGPROF else f"ended the process ({code})"


def work() -> None:
    """Judge the cases that come in, a line each."""
    answers = os.fdopen(os.dup(1), "w")
    nowhere = os.open(os.devnull, os.O_WRONLY)
    # libraries in C write to both
    for number in (1, 2):
        os.dup2(nowhere, number)
    from tests.mutations.judge import good_value, judge
    from tests.mutations.kinds import KINDS
    from tests.mutations.model_kinds import MODELS

    kinds = {kind.name: kind for kind in (*KINDS, *MODELS)}
    held = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (held + ROOM, held + ROOM))
    good: dict[str, Any] = {}
    for line in sys.stdin:
        name, number, seed, harmless = json.loads(line)
        if name not in good:
            good[name] = good_value(kinds[name])
        signal.setitimer(signal.ITIMER_PROF, LIMIT_S)
        verdict = judge(kinds[name], number, seed, good[name] if harmless else None)
        signal.setitimer(signal.ITIMER_PROF, 0)
        print(json.dumps([verdict.outcome, verdict.why]), file=answers, flush=True)


def table(wanted: Sequence[tuple[str, int, int, bool]], found: Sequence[tuple[str, str]]) -> str:
    """Counts of each group of kinds."""
    counts: dict[str, Counter[str]] = {}
    for (name, _, _, harmless), (outcome, _) in zip(wanted, found, strict=True):
        for group in (name.split("/")[0], "all"):
            counts.setdefault(group, Counter()).update(("harmless" if harmless else "damaged", outcome))
    columns = ("harmless", "damaged", "taken", "refused", "failed")
    rows = [("kind", *columns), *((group, *(str(one[column]) for column in columns)) for group, one in counts.items())]
    return "\n".join("".join(cell.rjust(10) for cell in row) for row in rows)


def main() -> None:
    """Try the inputs that the arguments ask for, and print failures and counts."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutations")
    parser.add_argument("--count", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--only", default="", help="part of the name of the kinds that are tried")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.worker:
        work()
        return
    wanted = cases(given.count, given.seed, given.only)
    found = []
    for case, verdict in zip(wanted, verdicts(wanted), strict=True):
        found.append(verdict)
        if verdict[0] == "failed":
            print(f"{case[0]} {case[1]}{' harmless' if case[3] else ''}: {verdict[1]}", flush=True)
    print(table(wanted, found))
    sys.exit(any(outcome == "failed" for outcome, _ in found))


if __name__ == "__main__":
    main()
