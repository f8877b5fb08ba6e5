"""The program as a user starts it: as a process of its own, or, where that shows nothing more, inside this one."""

from __future__ import annotations

import contextlib
import io
import os
import signal
import subprocess
import sys
import warnings
from concurrent.futures import Future
from pathlib import Path

import pytest

from emoscope.report.theme import Pictures

PROGRAM = (sys.executable, "-c", "from emoscope.cli import main; main()")

EMPTY: Future[Pictures] = Future()
"""A figure that was not drawn."""
EMPTY.set_result(Pictures("<svg ></svg>", "", "<svg ></svg>", "<svg ></svg>"))


def undrawn(patch: pytest.MonkeyPatch) -> None:
    """Leave out drawing, which takes most of the time of a page; every figure is defined and every table made."""
    patch.setattr("emoscope.report.theme.Drawing.__init__", lambda *_, **__: None)
    patch.setattr("emoscope.report.theme.Drawing.__exit__", lambda *_: None)
    patch.setattr("emoscope.report.theme.Drawing.draw", lambda *_: EMPTY)


def figureless(patch: pytest.MonkeyPatch) -> None:
    """Leave the figures of pages out, where nothing but tables is looked at."""
    undrawn(patch)
    patch.setattr("emoscope.report.page.begin_figure", lambda *_: lambda: {"missing": "left out"})


UNDRAWN = (
    sys.executable,
    "-c",
    "from concurrent.futures import Future\n"
    "from emoscope.report.theme import Drawing, Pictures\n"
    "empty = Future(); empty.set_result(Pictures('<svg ></svg>', '', '<svg ></svg>', '<svg ></svg>'))\n"
    "Drawing.__init__, Drawing.__exit__, Drawing.draw = lambda *_, **__: None, lambda *_: None, lambda *_: empty\n"
    "from emoscope.cli import main; main()",
)
"""The program without drawing, as a process of its own."""


def emoscope(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the program as a process of its own, which begins by loading torch where a model is asked."""
    return subprocess.run([*PROGRAM, *map(str, arguments)], capture_output=True, text=True, cwd=cwd, check=False,
                          env={**os.environ, "COLUMNS": "200"})  # fmt: skip


def inside(*arguments: str | Path, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run the program inside this process, where its libraries are loaded already: the same words and exit code."""
    from emoscope.cli import main

    said, told, code = io.StringIO(), io.StringIO(), None
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGALRM)}
    with (
        contextlib.chdir(cwd), contextlib.redirect_stdout(said), contextlib.redirect_stderr(told),
        pytest.MonkeyPatch.context() as patch, warnings.catch_warnings(),
    ):  # fmt: skip
        patch.setattr(sys, "argv", ["emoscope", *map(str, arguments)])
        patch.setenv("COLUMNS", "200")
        warnings.filterwarnings("ignore", "Cyclopts application invoked without tokens")  # it has them in sys.argv
        try:
            main()
        except SystemExit as ended:
            code = ended.code
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
    assert isinstance(code, int)
    return subprocess.CompletedProcess(arguments, code, said.getvalue(), told.getvalue())
