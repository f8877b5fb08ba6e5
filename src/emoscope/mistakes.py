"""Whose mistake an error is: one that this package raised on purpose tells the user of a mistake in the input."""

from __future__ import annotations

import dis

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
    """The first line of what an error says, or its kind where it says nothing."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]
