"""What a run says while it works: progress on the screen, events in log.jsonl."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import cached_property
from pathlib import Path
from typing import IO, TYPE_CHECKING

from emoscope.runs.ending import check_stop

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress, TaskID

QUIET_S = 1.0
"""Progress events are written at most this often, in seconds."""


class Log:
    """Progress and events of one run.

    Args:
        show: ``"bars"`` (rich progress bars; in a notebook one line of plain text a stage), ``"json"`` (one JSON
            object a line on standard output), or ``"quiet"``.
        path: file to which every event is appended as a JSON line, or ``None``.
    """

    def __init__(self, show: str = "bars", path: Path | None = None) -> None:
        if show not in ("bars", "json", "quiet"):
            raise ValueError(f'log {show!r} is not known: give "bars", "json" or "quiet"')
        self.show, self.start = show, time.monotonic()
        self.seconds: dict[str, float] = {}
        self._file: IO[str] | None = path.open("a", encoding="utf-8") if path else None
        self._bars: Progress | None = None
        self._task: TaskID | None = None
        self._stage, self._done, self._total, self._last, self._unit = "", 0, 0, 0.0, ""
        self._line = False

    def event(self, name: str, /, **fields: object) -> None:
        """Record one event with its time in seconds since the start."""
        line = json.dumps({"t": round(time.monotonic() - self.start, 2), "event": name, **fields}, default=str)
        if self._file:
            self._file.write(line + "\n")
            self._file.flush()
        if self.show == "json":
            sys.stdout.write(line + "\n")
            sys.stdout.flush()

    def say(self, text: str) -> None:
        """Tell the user one sentence (kept out of the way of progress bars)."""
        self.event("say", text=text)
        if self.show == "bars":
            if self._console.is_jupyter:
                print(text, flush=True)
            else:
                self._console.print(text, highlight=False)

    @contextmanager
    def stage(self, name: str, total: int, unit: str = "") -> Iterator[Log]:
        """A stretch of work of ``total`` steps; call :meth:`step` after each."""
        began = time.monotonic()
        self._stage, self._done, self._total, self._last, self._unit = name, 0, total, 0.0, unit
        self.event("stage", stage=name, total=total, unit=unit)
        self._line = self.show == "bars" and self._console.is_jupyter
        if self.show == "bars" and not self._line:
            from rich import progress as shown

            name_and_bar = shown.TextColumn("{task.description}"), shown.BarColumn()
            count = shown.MofNCompleteColumn(), shown.TextColumn("{task.fields[unit]}")
            self._bars = shown.Progress(*name_and_bar, *count, shown.TimeElapsedColumn(), console=self._console)
            self._bars.start()
            self._task = self._bars.add_task(name, total=total, unit=unit)
        whole = False
        try:
            yield self
            whole = True
        finally:
            if self._bars:
                self._bars.stop()
                self._bars = self._task = None
            spent = time.monotonic() - began
            if self._line:
                self._rewrite(f" in {spent:.0f} s" if whole else " (stopped)", end="\n")
                self._line = False
            self.seconds[name] = round(self.seconds.get(name, 0.0) + spent, 3)
            done = {"stage": name, "done": self._done, "total": self._total}
            self.event("stage done" if whole else "stage stopped", **done, seconds=round(spent, 2))

    def step(self, count: int = 1) -> None:
        """Count ``count`` finished steps of the current stage; ``Stopped`` where a signal asked the program to end."""
        check_stop()
        self._done += count
        if self._bars is not None and self._task is not None:
            self._bars.update(self._task, advance=count)
        now = time.monotonic()
        if now - self._last >= QUIET_S or self._done >= self._total:
            self._last = now
            if self._line:
                self._rewrite()
            self.event("progress", stage=self._stage, done=self._done, total=self._total)

    def _rewrite(self, after: str = "", end: str = "") -> None:
        """Write the stage's line anew: a notebook's cell follows a carriage return, as a terminal does."""
        text = f"{self._stage}: {self._done} of {self._total}{f' {self._unit}' if self._unit else ''}{after}"
        print(f"\r{text:<70}", end=end, flush=True)

    def close(self) -> None:
        """Close the log file; on a full disk its last lines are lost."""
        if self._file:
            with suppress(OSError):
                self._file.close()
            self._file = None

    @cached_property
    def _console(self) -> Console:
        from rich.console import Console

        return Console(stderr=True)
