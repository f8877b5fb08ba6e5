"""What the benchmarks that start the program again and again ask of a user: a study, its size, and where runs go."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAM = (sys.executable, "-c", "from emoscope.cli import main; main()")


def parser(description: str | None) -> argparse.ArgumentParser:
    """The arguments that all take; a benchmark adds its own."""
    made = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("study", nargs="?", type=Path, help="study file; the demo's by default")
    made.add_argument("--pilot", type=int, default=10, help="clips per emotion; 0 for the whole study")
    made.add_argument("--out", type=Path, help="folder of the runs; a temporary one, removed, by default")
    return made


@contextmanager
def command_and_folder(given: argparse.Namespace, prefix: str) -> Iterator[tuple[list[str], Path]]:
    """The command that runs the study, without its run folder, and the folder of the runs."""
    command = [*PROGRAM, *(["run", str(given.study)] if given.study else ["demo"]), "--log", "quiet"]
    command += ["--pilot", str(given.pilot)] if given.pilot else []
    place = given.out or Path(tempfile.mkdtemp(prefix=f"{prefix}-"))
    try:
        yield command, place
    finally:
        if given.out is None:
            shutil.rmtree(place, ignore_errors=True)
