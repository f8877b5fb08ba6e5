"""Whose mistake an error is: one that this package raised on purpose tells the user of a mistake in the input.

A library's own error about what the user named is put into one sentence here.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from contextlib import contextmanager

MISTAKES = (ValueError, FileNotFoundError, NotADirectoryError, IsADirectoryError, FileExistsError)
"""Kinds of errors that tell of a mistake in the input, where they are raised on purpose."""


def on_purpose(error: BaseException) -> bool:
    """Whether a ``raise`` statement of this package made the error, not a library or a slip in a computation.

    Example:
        >>> from emoscope.emotions import canonical
        >>> try:
        ...     canonical("hapiness")
        ... except ValueError as error:
        ...     on_purpose(error)
        True
    """
    place = error.__traceback__
    while place and place.tb_next:
        place = place.tb_next
    if place is None or not str(place.tb_frame.f_globals.get("__name__", "")).startswith("emoscope"):
        return False
    return place.tb_frame.f_code.co_code[place.tb_lasti] == dis.opmap["RAISE_VARARGS"]


def first_line(error: BaseException) -> str:
    """What an error says, in one line, or its kind where it says nothing."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()] or [type(error).__name__]
    words = " ".join(" ".join(lines[: 2 if lines[0].endswith(":") else 1]).split())
    return words if len(words) <= 300 else f"{words[:300]} …"


@contextmanager
def opening(what: str, remedy: str = "fetch the model again, and if that does not help, report it") -> Iterator[None]:
    """Say in one sentence why a library cannot open what the user named; what this package says keeps its words.

    Example:
        >>> with opening("model x cannot be opened"):
        ...     {}["hidden_size"]
        Traceback (most recent call last):
        ...
        ValueError: model x cannot be opened (KeyError: 'hidden_size'): fetch the model again, and if that does not...
    """
    try:
        yield
    except Exception as error:
        if isinstance(error, MISTAKES) and on_purpose(error):
            raise
        if isinstance(error, PermissionError) and error.filename is not None:
            raise
        if isinstance(error, ImportError):
            remedy = "install the package that it names, or load without what needs it"
        elif isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":
            remedy = "take a smaller dtype, quantise it, or use a machine with more memory"
        raise ValueError(f"{what} ({type(error).__name__}: {first_line(error)}): {remedy}") from error
