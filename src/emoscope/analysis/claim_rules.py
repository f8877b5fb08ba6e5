"""The rules by which a claim of the paper counts as supported by the published measure: pure functions of table rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from emoscope.analysis.estimate import estimate_of
from emoscope.vocabulary import LEVEL
from emoscope.wording import DOING, bracket, number, p_text

SUPPORTED, UNSUPPORTED, UNTESTED = "supported by the published measure", "not supported", "not testable here"
"""What a claim is called. The published measure also counts moves of the answers that know nothing of the clip."""

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Decision:
    """What a rule says, why, and the number that it rests on: as text (empty without one), and with its interval."""

    verdict: str
    why: str
    number: str = ""
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    unit: str | None = None


def untested(why: str) -> Decision:
    """No verdict, for a reason.

    Example:
        >>> untested("a pilot supports no claim").verdict
        'not testable here'
    """
    return Decision(UNTESTED, why)


def shown(row: Row, verdict: str, why: str, what: str, unit: str = "points") -> Decision:
    """A decision with the number that it rests on."""
    effect = f"{what} {number(row['estimate'], sign=True)}{' points' if unit == 'points' else ''} {ends(row)}".strip()
    return Decision(verdict, why, effect, row["estimate"], row["low"], row["high"], unit)


def ends(row: Row) -> str:
    """The interval of a row, empty where there is none."""
    return bracket(row["low"], row["high"], sign=True)


def span(row: Row) -> str:
    """The estimate of a row with its interval."""
    return f"{number(row['estimate'], sign=True)} {ends(row)}".strip()


SPARED = 0.5
"""The other emotions are largely spared if what they lose is surely less than this share of the emotion's own loss."""

MODEST = 50  # so many clips per emotion are modest identification data
KEPT = 0.8  # sets from few clips keep the effect if they reach at least this share of the full set's

DONE = {"deactivate": "switching them off", "steer": "amplifying them"}

FEWEST_DRAWS = 5  # fewer draws of shuffled labels do not say how uneven chance is


def unusable(row: Row | None, absent: str) -> str | None:
    """Why an effect supports no verdict: it is absent, unreliable, or has no interval; ``None`` where it may."""
    if row is None or row["estimate"] is None:
        return absent
    if row.get("unreliable"):
        return TOO_UNRELIABLE
    if row["low"] is None:
        return row.get("reason") or "there is no interval"
    return None


TOO_UNRELIABLE = "too few answers are letters, or the written answers differ too often"
"""Why a unreliable effect supports no verdict."""

AT_CHANCE = "the untouched model is not clearly above chance: an effect would be one of how it answers, not of emotion"
"""Why nothing can be concluded where the model does not know the emotions."""


def some_effect(tests: Sequence[Row]) -> Decision:
    """Such neurons exist: one declared test holds, after Holm, with switching off hurting or amplifying pulling.

    Example:
        >>> row = {"kind": "deactivate", "estimate": -9.0, "low": -12.0, "high": -6.0, "p_holm": 0.001, "reason": None}
        >>> some_effect([row]).number
        'excess gap −9.0 points [−12.0, −6.0]'
    """
    made = [row for row in tests if row["p_holm"] is not None]
    if not made:
        return untested(next((row["reason"] for row in tests if row["reason"]), "no test was declared"))
    right = [row for row in made if (row["estimate"] < 0) == (row["kind"] == "deactivate")]
    best = min(right or made, key=lambda row: float(row["p_holm"]))
    holds = bool(right) and best["p_holm"] < LEVEL
    kinds = {row["kind"] for row in right if row["p_holm"] < LEVEL}
    done = " and ".join(name for kind, name in DONE.items() if kind in kinds)
    why = f"{done} moves answers more than similar neurons do"
    why = why if holds else "no declared test holds after correction for their number"
    if len(made) < len(tests):
        why += f"; {len(made)} of {len(tests)} declared tests could be made"
    what = "excess gap" if best["kind"] == "deactivate" else "excess pull gap"
    return shown(best, SUPPORTED if holds else UNSUPPORTED, why, what)


def hurts(test: Row | None, own: Row | None, verdict: str | None = None) -> Decision:
    """Switching off hurts the emotion disproportionately: the declared test holds, and the emotion itself loses.

    ``test`` is that of the excess gap, ``own`` the effect ``excess_self``, ``verdict`` that of the table of verdicts.
    """
    if test is None:
        return untested("no set was switched off")
    if test["p_holm"] is None:
        return untested(test["reason"] or "the declared test could not be made")
    if no := unusable(own, "no matched neurons were switched off"):
        return untested(no)
    assert own is not None
    verb = "loses" if own["high"] < 0 else "does not clearly lose"
    found = f"the emotion itself {verb} beyond similar neurons ({span(own)})"
    if test["p_holm"] < LEVEL and test["estimate"] < 0 and own["high"] < 0:
        how = {
            "removes evidence": "it removes evidence", "pulls the answer": "it moves what is answered, not what is heard",
            "both": "it removes evidence and moves what is answered", "neither": "evidence and leaning stay as they were",
            "undecided": "whether evidence is lost or only the answer moves is undecided",
        }.get(verdict or "", "")  # fmt: skip
        return shown(test, SUPPORTED, f"{found}{f'; {how}' if how else ''}", "excess gap")
    if test["p_holm"] < LEVEL and test["estimate"] < 0:
        return shown(test, UNSUPPORTED, f"the gap is one of the other emotions’ gains: {found}", "excess gap")
    return shown(test, UNSUPPORTED, _open(test), "excess gap")


def spares(hurt: Decision, own: Row | None, others: Row | None) -> Decision:
    """The other emotions are largely spared: their loss (``excess_cross``) is surely less than half of its own."""
    if hurt.verdict != SUPPORTED or own is None:
        return untested("the emotion itself is not shown to be hurt")
    if no := unusable(others, "no matched neurons were switched off"):
        return untested(no)
    assert others is not None
    limit = SPARED * own["estimate"]
    part = "half of the emotion’s own" if SPARED == 0.5 else f"{SPARED:g} of the emotion’s own"
    less = others["low"] > limit
    how = "surely less" if less else "more" if others["high"] < limit else "perhaps more"
    why = f"{how} than {part} ({number(own['estimate'], sign=True)})"
    return shown(others, SUPPORTED if less else UNSUPPORTED, why, "excess, other emotions")


def pulls(overall: Row | None, gap: Row | None) -> Decision:
    """Amplifying biases answers towards the emotion, beyond similar neurons: the interval lies above 0.

    That is of ``excess_pull_overall`` at the headline's alpha; ``excess_pull_gap`` is named beside it.
    """
    if no := unusable(overall, "no set was amplified beside matched neurons"):
        return untested(no)
    assert overall is not None
    beside = "" if gap is None or gap["low"] is None else f"excess pull gap {span(gap)}"
    holds = overall["low"] > 0
    why = "; ".join(filter(None, [None if holds else _open(overall), beside]))
    return shown(overall, SUPPORTED if holds else UNSUPPORTED, why, "excess pull")


def rises(trend: Row | None) -> Decision:
    """The pull grows with alpha, beyond similar neurons: Page's test holds and the slope's interval lies above 0."""
    if trend is None or trend["slope"] is None:
        return untested("selected and matched neurons were not amplified at several strengths up to 1")
    row = {**trend, "estimate": trend["slope"]}
    if no := unusable(row, ""):
        return untested(no)
    if trend["p"] is None:
        return untested(trend["reason"] or "the trend test could not be made")
    holds = trend["p"] < LEVEL and trend["low"] > 0
    why = f"alpha {trend['alphas']}; Page’s test {p_text(trend['p'])}"
    unit = "points per unit of alpha"
    return shown(row, SUPPORTED if holds else UNSUPPORTED, why, "excess pull per unit of alpha", unit)


def modest(hurt: Decision, test: Row | None, full: int | None, sizes: Sequence[Row], whole: Row | None, matched: Row | None) -> Decision:  # fmt: skip
    """Few clips are enough: sets from at most 50 clips per emotion keep 80 % of the gap, and surpass matched neurons.

    The full set ``hurt`` its emotion by the declared ``test``, was found on ``full`` clips per emotion, and has the row
    ``whole`` in the table of efficiency (``sizes``: mean over draws, in rising order of clips); ``matched`` is the gap
    of its matched neurons.
    """
    if hurt.verdict != SUPPORTED or test is None:
        return untested("the full set is not shown to hurt its emotion")
    if full is not None and full <= MODEST:
        return shown(test, SUPPORTED, f"the full set was found on {full} clips per emotion", "excess gap")
    few = [row for row in sizes if row["size"] <= MODEST]
    if not few or whole is None or matched is None or matched["low"] is None:
        return untested(f"no sets from at most {MODEST} clips per emotion were switched off")
    if all(row["gap_high"] is None for row in few):
        return untested(few[0]["reason"] or "there is no interval")
    if whole["gap"] is None or whole["gap"] >= 0:
        return untested("the full set’s own gap is not below 0, only that beyond matched neurons")
    enough = [
        row for row in few
        if row["gap_high"] is not None and row["gap_high"] < matched["low"] and row["gap"] <= KEPT * whole["gap"]
    ]  # fmt: skip
    row = (enough or few[-1:])[0]
    share = f"{100 * row['gap'] / whole['gap']:.0f} % of the full set’s ({number(whole['gap'], sign=True)})"
    beyond = "" if enough or row["gap_high"] is None else f"; matched neurons: {span(matched)}"
    why = f"{share.replace('-', '−')}{beyond}"
    verdict = SUPPORTED if enough else UNSUPPORTED
    return shown(estimate_of(row, "gap"), verdict, why, f"gap with {row['size']} clips")


def crowds(row: Row | None) -> Decision:
    """The neurons cluster over layers: more unevenly than every set of shuffled labels, by the interval's lower end."""
    if row is None:
        return untested("no sets of shuffled labels to compare with")
    if row["draws"] < FEWEST_DRAWS:
        return untested(f"only {row['draws']} draws of shuffled labels: {FEWEST_DRAWS} are needed")
    if row["low"] is None:
        return untested(row["reason"])
    why = f"shuffled labels: {row['shuffled']:.1f} % ({row['shuffled_min']:.1f} to {row['shuffled_max']:.1f})"
    text = f"{row['estimate']:.1f} % would have to move [{row['low']:.1f}, {row['high']:.1f}]"
    verdict = SUPPORTED if row["low"] > row["shuffled_max"] else UNSUPPORTED
    return Decision(verdict, why, text.replace("-", "−"), row["estimate"], row["low"], row["high"], "%")


def carries_over(row: Row, p_holm: float | None, own: Row | None) -> Decision:
    """One corpus's sets hurt their emotions in another: excess gap below 0, after Holm over all pairs of corpora.

    ``row`` is that of ``excess_gap`` in the table of transfer, for one source in another host; ``own`` that of the
    host's own sets.
    """
    if no := unusable(row, "the sets did not act there"):
        return untested(no)
    if p_holm is None:
        return untested("there is no p value")
    kept = "" if row["kept"] is None else f"keeps {row['kept']:.0f} % of what that corpus’s own sets do"
    kept = kept.replace("-", "−")
    if row["uar_low"] is None or row["chance"] is None or row["uar_low"] <= row["chance"]:
        return shown(row, UNTESTED, AT_CHANCE, "excess gap")
    if p_holm < LEVEL and row["estimate"] < 0:
        return shown(row, SUPPORTED, kept, "excess gap")
    if own is None or own["high"] is None or own["high"] >= 0:
        return shown(row, UNTESTED, "that corpus’s own sets do nothing clear on these emotions either", "excess gap")
    why = f"{p_text(p_holm)} after correction for all pairs"
    return shown(row, UNSUPPORTED, "; ".join(filter(None, [why, kept])), "excess gap")


def both(first: Decision, second: Decision) -> Decision:
    """A claim that holds if two others do.

    Example:
        >>> yes = Decision(SUPPORTED, "")
        >>> both(yes, yes).verdict, both(yes, Decision(UNSUPPORTED, "")).verdict, both(yes, untested("")).verdict
        ('supported by the published measure', 'not supported', 'not testable here')
    """
    for verdict, why in ((UNSUPPORTED, "not supported"), (UNTESTED, "not testable here")):
        which = [name for name, claim in zip(DOING.values(), (first, second), strict=True) if claim.verdict == verdict]
        if which:
            return Decision(verdict, f"{' and '.join(which)}: {why}")
    return Decision(SUPPORTED, "switching off and amplifying do both")


def _open(row: Row) -> str:
    if row["low"] <= 0 <= row["high"]:
        return "the interval holds 0"
    wrong = (row["estimate"] > 0) == (row.get("kind") == "deactivate")
    return "it goes the other way" if wrong else f"{p_text(row['p_holm'])} after correction for all declared tests"
