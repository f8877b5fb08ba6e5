"""How long a clip is by its own row, and whether its file is far longer: then it is more than the row describes."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

LISTED = "listed_s"
"""Label column: seconds that a clip lasts by its row."""

LENGTHS = {"duration": 1.0, "duration_s": 1.0, "dur": 1.0, "length_s": 1.0, "duration_sec": 1.0, "duration_ms": 0.001}
"""Columns that say how long a clip is -> their unit, in seconds."""

STARTS = ("start", "start_time", "starttime", "start_s", "begin", "onset")
ENDS = ("end", "end_time", "endtime", "end_s", "stop", "offset")

TIME = re.compile(r"(?:(?P<days>\d+) days?,? )?(?:(?P<hours>\d+):)?(?P<minutes>\d+):(?P<seconds>\d+(?:[.,]\d+)?)")

PART = "a part of a longer recording, as other rows are: cut it into a file of its own"

FACTOR, SECONDS = 1.5, 1.0
"""A file is far longer where it is beyond both: this many times as long, and this many seconds longer."""


def far_longer(seconds: float, listed: str | None) -> bool:
    """Whether a file is far longer than its row says.

    Example:
        >>> far_longer(300.0, "4.1"), far_longer(4.4, "4.1"), far_longer(300.0, None)
        (True, False, False)
    """
    said = seconds_of(listed)
    return said is not None and seconds > max(FACTOR * said, said + SECONDS)


def seconds_of(text: str | None) -> float | None:
    """Seconds of a text such as "4.1", "0:04.1" or "00:00:04,100".

    Example:
        >>> seconds_of("4.1"), seconds_of("00:00:04,100"), seconds_of("0 days 00:01:00"), seconds_of("soon")
        (4.1, 4.1, 60.0, None)
    """
    if text is None:
        return None
    if re.fullmatch(r"\d+(?:[.,]\d+)?", text):
        return float(text.replace(",", "."))
    match = TIME.fullmatch(text)
    if match is None:
        return None
    found = {name: float((match[name] or "0").replace(",", ".")) for name in ("days", "hours", "minutes", "seconds")}
    return 86_400 * found["days"] + 3600 * found["hours"] + 60 * found["minutes"] + found["seconds"]


def with_lengths(values: dict[str, list[str | None]], source: Mapping[str, str]) -> dict[int, str]:
    """Add the column ``listed_s`` where a table says how long its clips are or where they begin and end.

    Args:
        values: field or label column -> the rows' texts; the column is added to it.
        source: field or label column -> column of the table.

    Returns:
        row (from 0) -> why it is excluded: several rows are parts of one file.

    Example:
        >>> values = {"path": ["a.wav", "a.wav", "b.wav"], "start": ["0", "2", "0"], "end": ["2", "3.5", "1"]}
        >>> faults = with_lengths(values, {name: name for name in values})
        >>> values["listed_s"], list(faults)
        (['2.000', '1.500', '1.000'], [0, 1])
        >>> values = {"path": ["a.wav", "a.wav", "b.wav"], "offset": ["0", "2", "0"], "duration": ["2", "1.5", "1"]}
        >>> list(with_lengths(values, {name: name for name in values}))
        [0, 1]
    """
    lower = {column.strip().lower(): name for name, column in reversed(list(source.items()))}
    length = next((lower[name] for name in LENGTHS if name in lower), None)
    start, end = (next((lower[name] for name in names if name in lower), None) for names in (STARTS, ENDS))
    if LISTED in values:
        return {}
    faults = {}
    if start and end:
        spans = list(zip(map(seconds_of, values[start]), map(seconds_of, values[end]), strict=True))
        listed = [b - a if a is not None and b is not None and b > a else None for a, b in spans]
        faults = dict.fromkeys(_parts(values["path"], spans), PART)
    elif length:
        unit = LENGTHS[source[length].strip().lower()]
        listed = [None if (said := seconds_of(text)) is None else said * unit for text in values[length]]
        # lists of other programs give where a part begins, as offset, and how long it is
        if begin := start or lower.get("offset"):
            faults = dict.fromkeys(_parts(values["path"], [(seconds_of(text), None) for text in values[begin]]), PART)
    else:
        return {}
    values[LISTED] = [None if said is None else f"{said:.3f}" for said in listed]
    return faults


def _parts(paths: Sequence[str | None], spans: Sequence[tuple[float | None, float | None]]) -> list[int]:
    rows: dict[str, list[int]] = defaultdict(list)
    for row, path in enumerate(paths):
        if path is not None:
            rows[path].append(row)
    return sorted(row for same in rows.values() if len({spans[one] for one in same}) > 1 for row in same)
