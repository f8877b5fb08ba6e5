"""What may be said of a family of sets: it removes evidence, it pulls the answer, both, or neither; and the declared tests."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import polars as pl

from emoscope.analysis.claim_rules import TOO_HOLLOW
from emoscope.analysis.contrasts import Compared, measures
from emoscope.analysis.estimate import Estimate, holm
from emoscope.analysis.load import Run
from emoscope.schemas import as_table
from emoscope.vocabulary import GAPS

NO_SENSITIVITY, NO_BIAS = 2.0, 0.1
"""Changes within these limits (AUC points, nat) are small: both ends of an interval must lie within."""


def verdict(sensitivity: tuple[float, float], bias: tuple[float, float]) -> tuple[str, str | None]:
    """The verdict from the 95 % intervals of the excess sensitivity (AUC points) and the excess bias (nat).

    * evidence falls: the sensitivity interval lies below 0;
    * the answer moves: the bias interval excludes 0;
    * both: the two together; "removes evidence": only the first;
    * "pulls the answer": only the second, and the sensitivity interval lies within +-2 AUC points;
    * "neither": neither of the two, and both intervals lie within +-2 AUC points and +-0.1 nat;
    * else "undecided".

    Returns:
        the verdict, and for "undecided" which interval is too wide.

    Example:
        >>> verdict((-9.0, -3.0), (-0.2, 0.3)), verdict((-1.0, 0.5), (-0.9, -0.4))
        (('removes evidence', None), ('pulls the answer', None))
        >>> verdict((-3.0, 0.5), (-0.9, -0.4))
        ('undecided', 'the sensitivity interval is not within ±2 AUC points')
    """
    falls, moves = sensitivity[1] < 0, bias[0] > 0 or bias[1] < 0
    if falls:
        return ("both" if moves else "removes evidence"), None
    no_loss = max(map(abs, sensitivity)) <= NO_SENSITIVITY
    no_pull = max(map(abs, bias)) <= NO_BIAS
    if moves and no_loss:
        return "pulls the answer", None
    if no_loss and no_pull:
        return "neither", None
    wide = [] if no_loss else [f"the sensitivity interval is not within ±{NO_SENSITIVITY:g} AUC points"]
    wide += [] if no_pull or moves else [f"the bias interval is not within ±{NO_BIAS:g} nat"]
    return "undecided", "; ".join(wide)


def verdicts(compared: Sequence[Compared], unknown_speakers: int) -> pl.DataFrame:
    """One verdict for each family of target sets that has matched controls and acts at all positions.

    Where speakers of some items are unknown, recordings stand in for them and no verdict is given.

    Returns:
        the columns of table ``verdicts``, sensitivity in AUC points and bias in nat, as means over the emotions.
    """
    rows: list[dict[str, Any]] = []
    for one in compared:
        if one.excess is None or one.family["positions"] != "all":
            continue
        found = measures(one.excess.beyond)
        said, reason = _decide(found["sensitivity"], found["bias"], unknown_speakers)
        row = (
            one.family | found["sensitivity"].columns() | {"verdict": said, "reason": reason, "headline": one.headline}
        )
        rows.append(row | found["sensitivity"].named("excess_sensitivity") | found["bias"].named("excess_bias"))
    return as_table("verdicts", rows)


def _decide(sensitivity: Estimate, bias: Estimate, unknown: int) -> tuple[str | None, str | None]:
    if sensitivity.hollow:
        return None, TOO_HOLLOW
    if unknown:
        return None, "speakers are unknown"
    first, second = sensitivity.interval(), bias.interval()
    if first.low is None or first.high is None or second.low is None or second.high is None:
        return None, first.reason or second.reason
    return verdict((first.low, first.high), (second.low, second.high))


def headline_tests(compared: Sequence[Compared], run: Run) -> pl.DataFrame:
    """The declared headline tests, adjusted for their number after Holm (1979).

    Returns:
        the columns of table ``tests``, one row for each kind that the study declares; points.
    """
    corpus = "+".join(sorted(set(run.items.filter(pl.col("fate") == "used")["corpus"].drop_nulls())))
    rows: list[dict[str, Any]] = []
    for kind, measure in GAPS.items():
        declared = [one for one in compared if one.headline and one.family["kind"] == kind]
        if not declared:
            continue
        one = min(declared, key=lambda this: (this.family["positions"] != "all", this.family["to"] == "mean"))
        row: dict[str, Any] = {
            "kind": kind,
            "measure": f"excess_{measure}",
            "corpus": corpus,
            "p": None,
            "reason": "no matched controls",
        }
        if one.excess is not None:
            row |= measures(one.excess.beyond)[measure].columns()
            row |= {"p": None, "reason": TOO_HOLLOW} if one.excess.beyond.hollow else {}
        rows.append(row)
    for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
        row["p_holm"] = p
    return as_table("tests", rows)
