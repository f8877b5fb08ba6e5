"""How the program ends: signals, exit codes, and the sentence that says how to go on.

This is the only module that handles the program's signals; the process that draws leaves Ctrl-C to it. A signal raises
:class:`Stopped` in the main thread; should a library swallow it, the next step of progress raises it again. Files are
renamed into place, so there is nothing to undo.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shlex
import signal
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import NoReturn

from emoscope import __version__
from emoscope.mistakes import MISTAKES, on_purpose
from emoscope.runs.folder import RunFolder
from emoscope.runs.shards import InUse, Unfinished

DONE, INPUT, TOO_FEW, PROOF, FAULT, RESUMABLE, CTRL_C, CLOSED_PIPE = 0, 2, 3, 4, 70, 75, 130, 141

EXIT_CODES = {
    DONE: "done",
    INPUT: "a mistake in the input",
    TOO_FEW: "fewer than two identifiable emotions",
    PROOF: "a proof failed",
    FAULT: "a fault of the program",
    RESUMABLE: "stopped and resumable (SIGTERM, --stop-after, a full disk, other shards missing, or a folder in use)",
    CTRL_C: "stopped with Ctrl-C",
}
"""Exit code -> what it means; 70 and 75 as in sysexits.h, 75 asks a scheduler to start the same command again."""

NAMES = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGALRM: "--stop-after"}

FULL = "No space left on device|os error 28|Disk quota exceeded"

_asked: list[int] = []


class Stopped(BaseException):
    """A signal asked the program to end; no ``except Exception`` catches it."""


def handle_signals() -> None:
    """Let Ctrl-C and SIGTERM raise :class:`Stopped` in the main thread; a signal that is ignored stays ignored."""
    for number in NAMES:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)


def stop_after(text: str) -> None:
    """Let the program stop, resumable, when this much time has passed (:func:`seconds_of`)."""
    signal.setitimer(signal.ITIMER_REAL, seconds_of(text))


def seconds_of(text: str) -> float:
    """Read a time of hours, minutes and seconds; ``ValueError`` where it is none, or no time at all.

    Example:
        >>> seconds_of("3h50m"), seconds_of("90m"), seconds_of("1.5s")
        (13800.0, 5400.0, 1.5)
    """
    found = re.fullmatch(r"(?:(\d+)h)?(?:(\d+)m)?(?:(\d+(?:\.\d+)?)s)?", text.strip())
    parts = zip(found.groups(), (3600, 60, 1), strict=True) if found else ()
    seconds = sum(float(part or 0) * unit for part, unit in parts)
    if not seconds:
        raise ValueError(f"--stop-after {text!r} is not a time: give hours, minutes and seconds, such as 3h50m or 90m")
    return seconds


def _stop(number: int, frame: FrameType | None) -> NoReturn:
    _asked.append(number)
    raise Stopped(NAMES[signal.Signals(number)])


def check_stop() -> None:
    """Raise :class:`Stopped` again if a signal came and was swallowed."""
    if _asked:
        raise Stopped(NAMES[signal.Signals(_asked[0])])


def end(error: BaseException, run: Path | None = None) -> int:
    """Say in one sentence why the program ends and how to go on, and give the exit code."""
    code, sentence = ending(error, run)
    if sentence:
        with contextlib.suppress(OSError):
            print(f"emoscope: {sentence}", file=sys.stderr, flush=True)
    return code


def leave(code: int) -> NoReturn:
    """Leave with an exit code; at once where a signal asked for it, as closing libraries down can take seconds."""
    if not _asked:
        sys.exit(code)
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def ending(error: BaseException, run: Path | None = None) -> tuple[int, str]:
    """The exit code and the sentence of an error; a fault of the program is written to ``crash.txt`` of the run."""
    if _asked:
        # a second signal would only break up the ending
        for number in NAMES:
            signal.signal(number, signal.SIG_IGN)
        number = signal.Signals(_asked[0])
        return CTRL_C if number is signal.SIGINT else RESUMABLE, f"stopped by {NAMES[number]}; {_go_on(run)}"
    if isinstance(error, KeyboardInterrupt):
        return CTRL_C, f"stopped by Ctrl-C; {_go_on(run)}"
    if nobody_reads(error):
        # whoever read the output has gone, so nothing more can be said; Python would complain when it closes stdout
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return CLOSED_PIPE, ""
    if any(_disk_full(link) for link in _chain(error)):
        return RESUMABLE, f"the disk is full: make room; {_go_on(run)}"
    name = type(error).__name__
    if name == "ProofFailed":
        return PROOF, f"a proof failed, so no result is claimed: {error}"
    if name == "NotIdentifiable":
        return TOO_FEW, str(error)
    if isinstance(error, Unfinished):
        return RESUMABLE, f"{error}; {_go_on(run)}"
    if isinstance(error, InUse):
        return RESUMABLE, str(error)
    if name == "OutOfMemoryError" or isinstance(error, MemoryError) or "can't allocate memory" in str(error):
        return INPUT, (
            "the memory is full: set a smaller positions_per_batch under [model] in the study, such as 2048, and run it "
            "again; what is done is kept"
        )
    if mistake := _mistake(error):
        return INPUT, mistake
    return FAULT, _report(error, run)


def nobody_reads(error: BaseException) -> bool:
    """Whether whoever read the output has gone, as in ``| head``; rich leaves with a SystemExit then."""
    cause = error.__context__ if isinstance(error, SystemExit) else error
    return isinstance(cause, BrokenPipeError)


def _go_on(run: Path | None) -> str:
    words = [word for word in sys.argv[1:] if word not in ("--fresh", "--fresh=true")]
    command = shlex.join(["emoscope", *words])
    if run is None:
        return f"no file is left half-written, and the same command starts again: {command}"
    done = len(RunFolder(run).units()) if run.is_dir() else 0
    return f"what is done is kept in {run} ({done} units), and the same command goes on from there: {command}"


def _mistake(error: BaseException) -> str | None:
    """The sentence of an error that a user can mend: one that this package raised on purpose, or a file's rights."""
    if isinstance(error, PermissionError) or (isinstance(error, OSError) and error.errno == errno.EROFS):
        if error.filename is None:
            return str(error)
        return f"{error.filename} cannot be used ({error.strerror}): change its rights, or choose another place"
    return str(error) if isinstance(error, MISTAKES) and on_purpose(error) else None


def _report(error: BaseException, run: Path | None) -> str:
    """Write the traceback where it can be sent from, and say where."""
    head = f"{shlex.join(['emoscope', *sys.argv[1:]])} (emoscope {__version__}, Python {sys.version.split()[0]})\n"
    text = head + "".join(traceback.format_exception(error))
    first = next(iter(str(error).splitlines()), "")
    what = f"this is a fault of the program, not yours ({type(error).__name__}{f': {first}' if first else ''})"
    if run is not None:
        with contextlib.suppress(OSError):
            (run / "crash.txt").write_text(text, encoding="utf-8")
            return f"{what}: please report it with {run / 'crash.txt'}; {_go_on(run)}"
    print(text, file=sys.stderr)
    return f"{what}: please report it with the lines above"


def _chain(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    waiting: list[BaseException | None] = [error]
    while waiting:
        link = waiting.pop()
        if link is None or id(link) in seen:
            continue
        seen.add(id(link))
        yield link
        waiting += [link.__cause__, link.__context__]
        if isinstance(link, BaseExceptionGroup):
            waiting += link.exceptions


def _disk_full(error: BaseException) -> bool:
    # libraries written in Rust pass the system's words on, not its number
    words = "" if isinstance(error, ValueError) else str(error)
    number = error.errno if isinstance(error, OSError) else None
    return number in (errno.ENOSPC, errno.EDQUOT) or bool(re.search(FULL, words))
