"""What judging anew changed: the verdicts that a folder held, beside those by today's rules."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emoscope.analysis.declared import RULE, UNTESTED
from emoscope.schemas import stored

OLD_CLAIMS: Mapping[str, str] = {"exist": "exists", "rises": "grows"}
"""Names of claims before version 3 of the rules -> those that took their place, decided on another number."""
OLD_WORDS: Mapping[str, str] = {"not testable here": UNTESTED}
"""Verdicts that are said in other words since."""

Key = tuple[str, str, str]  # name, corpus, and source where the sets are another corpus's


@dataclass(frozen=True)
class Verdicts:
    """The verdicts on all claims, and the version of the rules by which they were decided.

    ``rule`` is ``None`` where the tables do not say, as before version 3.
    """

    rule: str | None
    of: Mapping[Key, str]


def stored_verdicts(folder: str | Path) -> Verdicts | None:
    """The verdicts that a run's folder, or that of a study in parts, holds; ``None`` where it has no claims yet."""
    claims, tests = (stored(Path(folder), f"tables/{name}.parquet") for name in ("claims", "tests"))
    if not claims.is_file():
        return None
    return verdicts_of(pl.read_parquet(claims), pl.read_parquet(tests) if tests.is_file() else None)


def verdicts_of(claims: pl.DataFrame, tests: pl.DataFrame | None = None) -> Verdicts:
    """The verdicts of a table of claims, and the version of the rules that its tests, if there are any, say."""
    rules = tests["rule"].drop_nulls().to_list() if tests is not None and "rule" in tests.columns else []
    by_today = "declared" in claims.columns and tests is None  # claims about parts, whose tests stand in the parts
    found = {
        (OLD_CLAIMS.get(name, name), corpus or "", source or ""): OLD_WORDS.get(verdict, verdict)
        for name, corpus, source, verdict in claims.select("name", "corpus", "source", "verdict").iter_rows()
    }
    return Verdicts(rules[0] if rules else RULE if by_today else None, found)


def judged_anew(folder: str | Path, claims: pl.DataFrame, tests: pl.DataFrame | None = None) -> tuple[str, ...]:
    """Sentences that say which verdicts of new tables, that are still to be written, are others than the folder holds."""
    return what_changed(stored_verdicts(folder), verdicts_of(claims, tests))


def what_changed(before: Verdicts | None, now: Verdicts) -> tuple[str, ...]:
    """Sentences that say which verdicts are others than the folder held; empty where nothing is.

    Example:
        >>> old, new = ({("exists", "demo", ""): verdict} for verdict in ("supported", "not supported"))
        >>> print(*what_changed(Verdicts("3", old), Verdicts("4", new)), sep=chr(10))
        Judged anew by version 4 of the rules, before by version 3: 1 of 1 verdicts is another.
        exists (demo): supported before, now not supported.
    """
    if before is None or not before.of:
        return ()
    same = [key for key in before.of if key in now.of]
    moved = [key for key in same if before.of[key] != now.of[key]]
    if before.rule == now.rule and not moved:
        return ()
    earlier = f"version {before.rule}" if before.rule else "an earlier version"
    by = f"by version {now.rule} of the rules, before by {earlier}"
    if before.rule == now.rule:
        by = f"by the same version {now.rule} of the rules"
    others = f"{len(moved) or 'none'} of {len(same)} verdicts {'are others' if len(moved) > 1 else 'is another'}"
    lines = [f"Judged anew {by}: {others}."]
    lines += [f"{_named(key)}: {before.of[key]} before, now {now.of[key]}." for key in moved]
    if further := [_named(key) for key in now.of if key not in before.of]:
        lines.append(f"Not judged before: {', '.join(further)}.")
    if gone := [_named(key) for key in before.of if key not in now.of]:
        lines.append(f"No longer judged: {', '.join(gone)}.")
    return tuple(lines)


def _named(key: Key) -> str:
    name, corpus, source = key
    where = f"{source} to {corpus}" if source else corpus
    return f"{name} ({where})" if where else name
