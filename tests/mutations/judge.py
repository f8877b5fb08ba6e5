"""Judge what becomes of one input: taken, refused in a sentence, or a failure, with an eye on files, code and memory."""

from __future__ import annotations

import contextlib
import ctypes
import io
import os
import site
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any

from emoscope.runs.ending import DONE, INPUT, ending
from tests.mutations.damage import damage
from tests.mutations.kinds import NAME, Kind

MEMORY = 1 << 30
"""Bytes that reading one input may take above what the process held before."""

CODE = ("exec", "compile", "import", "marshal.loads", "ctypes.dlopen", "cpython.run_file")
"""Audit events that are faults where they concern a file beside the input."""

NEVER = (
    "socket.connect",
    "socket.getaddrinfo",
    "subprocess.Popen",
    "os.system",
    "os.exec",
    "os.posix_spawn",
    "pickle.find_class",
    "os.remove",
    "os.rename",
)
"""Audit events that no input may bring about."""


@dataclass(frozen=True)
class Verdict:
    """What became of an input: ``taken``, ``refused`` or ``failed``, and why."""

    outcome: str
    why: str = ""


class Watch:
    """Watches the process while an input is read. Hooks of Python cannot be taken out, so there is one."""

    _current: Watch | None = None
    _installed = False

    def __init__(self, folder: Path, outside: Path) -> None:
        self._folder, self._outside = str(folder), outside
        self._roots = tuple(dict.fromkeys(
            os.path.realpath(root) for root in (
                folder, sys.prefix, sys.base_prefix, *site.getsitepackages(), *(path for path in sys.path if path), Path(__file__).parents[2],
                os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "/proc", "/sys", "/dev", "/usr/lib", "/usr/share/zoneinfo", "/etc/mime.types", "/etc/localtime",
            )
        ))  # fmt: skip
        self.faults: list[str] = []

    def __enter__(self) -> Watch:
        if not Watch._installed:
            sys.addaudithook(Watch._hear)
            Watch._installed = True
        self._notify = _Opened(self._outside)
        Path("/proc/self/clear_refs").write_text("5")
        self._before = _memory("VmRSS")
        Watch._current = self
        return self

    def __exit__(self, *error: object) -> None:
        Watch._current = None
        grown = _memory("VmHWM") - self._before
        if grown > MEMORY:
            self.faults.append(f"took {grown / 2**30:.1f} GB")
        self.faults += [f"opened {name} outside of the input's folder" for name in self._notify.names()]

    @staticmethod
    def _hear(event: str, values: tuple[Any, ...]) -> None:
        watch = Watch._current
        if watch is None:
            return
        if event == "open":
            watch._see(*values)
        elif event in NEVER and not (event in ("os.remove", "os.rename") and watch._folder not in str(values)):
            watch.faults.append(f"{event}{values!r}"[:200])
        elif event in CODE and watch._folder in _place(event, values):
            watch.faults.append(f"{event} of a file beside the input: {values!r}"[:200])

    def _see(self, path: Any, mode: Any, flags: Any) -> None:
        if not isinstance(path, str | bytes | os.PathLike):
            return
        real = os.path.realpath(os.fsdecode(path))
        if not any(real == root or real.startswith(root + os.sep) for root in self._roots):
            self.faults.append(f"opened {real} outside of the input's folder")
        if (
            real.startswith(self._folder + os.sep)
            and isinstance(flags, int)
            and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        ):
            self.faults.append(f"wrote {real} beside the input")


def _place(event: str, values: tuple[Any, ...]) -> str:
    if event == "exec":
        return str(getattr(values[0], "co_filename", ""))
    return str(values[1] if event == "compile" and len(values) > 1 else values)


def _memory(field: str) -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field):
            return int(line.split()[1]) * 1024
    raise RuntimeError(f"/proc/self/status has no {field}")


class _Opened:
    """Names of the files in a folder that were opened, by whatever library: the system tells them."""

    def __init__(self, folder: Path) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._fd = self._libc.inotify_init1(os.O_NONBLOCK)
        if self._libc.inotify_add_watch(self._fd, os.fsencode(folder), 0x20) < 0:  # IN_OPEN
            raise OSError(ctypes.get_errno(), f"inotify of {folder}")

    def names(self) -> list[str]:
        with contextlib.suppress(BlockingIOError), open(self._fd, "rb", buffering=0, closefd=True) as file:
            events, names = file.read(1 << 16) or b"", []
            while events:
                size = int.from_bytes(events[12:16], "little")
                names.append(os.fsdecode(events[16 : 16 + size].rstrip(b"\0")))
                events = events[16 + size :]
            return [name for name in dict.fromkeys(names) if name]
        return []


@contextlib.contextmanager
def place(kind: Kind) -> Iterator[tuple[Path, Path]]:
    """The folder with the good input of a kind, and beside it a folder with files that nothing may open."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as made:
        folder, outside = Path(made).resolve() / NAME, Path(made).resolve() / "outside"
        folder.mkdir()
        outside.mkdir()
        for name in ("a.wav", "config.json", "model.safetensors"):
            (outside / name).write_bytes(b"outside")
        kind.write(folder)
        yield folder, outside


def read(kind: Kind, folder: Path, outside: Path) -> tuple[Verdict, Any]:
    """Read an input as a user would; the verdict, and the value where it was taken."""
    value = None
    with Watch(folder, outside) as watch, contextlib.redirect_stderr(io.StringIO()) as said:
        try:
            value = kind.read(folder)
            code, sentence = DONE, ""
        except AssertionError as error:
            code, sentence = -1, str(error)
        except BaseException as error:
            # what was found wrong in one input must not end the others
            code, sentence = ending(error)
            if isinstance(error, MemoryError):
                code = -1
    if watch.faults:
        return Verdict("failed", watch.faults[0]), value
    if code == DONE:
        return Verdict("taken"), value
    if code == INPUT and NAME not in sentence and Path(kind.file).name not in sentence:
        return Verdict("failed", f"the message does not name the file: {sentence}"), value
    if code == INPUT:
        return Verdict("refused", sentence), value
    return Verdict("failed", sentence + "".join(_where(said.getvalue()))), value


def _where(trace: str) -> list[str]:
    """The last lines of a traceback that are ours, and the last of all."""
    lines = [" ".join(line.split()) for line in trace.splitlines() if line.startswith('  File "')]
    ours = [line for line in lines if "/emoscope/" in line][-1:]
    return [f" | {line}" for line in dict.fromkeys((*ours, *lines[-1:]))]


def good_value(kind: Kind) -> Any:
    """The value that a kind's good input has; the first reading also imports what it needs."""
    with place(kind) as (folder, outside):
        verdict, value = read(kind, folder, outside)
    if verdict.outcome != "taken":
        raise AssertionError(f"the good input of {kind.name} is not taken: {verdict.why}")
    return value


def judge(kind: Kind, number: int, seed: int, good: Any | None = None, keep: Path | None = None) -> Verdict:
    """Change the good input of a kind and read it.

    Args:
        kind: the kind of input.
        number, seed: the same numbers give the same change.
        good: the value of the good input, for a harmless change, which must give it, too; ``None`` damages the input.
        keep: where the changed file is copied to.
    """
    random = Random(f"{seed}/{kind.name}/{number}")
    with place(kind) as (folder, outside):
        file = folder / kind.file
        data = file.read_bytes()
        if good is None:
            file.write_bytes(damage(data, random.choice((data, data[::-1])), kind.tokens, random))
        elif (change := random.choice((*kind.harmless, *kind.around))) in kind.around:
            change(folder, random)
        else:
            file.write_bytes(change(data, random))
        if keep is not None:
            keep.write_bytes(file.read_bytes())
        verdict, value = read(kind, folder, outside)
    if good is not None and verdict.outcome != "failed" and (verdict.outcome, value) != ("taken", good):
        return Verdict("failed", f"a harmless change was {verdict.outcome}: {verdict.why or 'another value'}")
    return verdict
