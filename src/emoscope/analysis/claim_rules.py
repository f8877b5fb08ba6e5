"""The rules of the claims that are no declared tests (exploration): pure functions of table rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import Any, NamedTuple

from emoscope.analysis.declared import RESERVED, SUPPORTED, UNSUPPORTED, UNTESTED, Test
from emoscope.vocabulary import FEWEST_PERMUTED, LEVEL
from emoscope.wording import DOING, bracket, number, p_text, p_value, value

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
        'not testable'
    """
    return Decision(UNTESTED, why)


def shown(row: Row, verdict: str, why: str, what: str, unit: str = "points") -> Decision:
    """A decision with the number that it rests on."""
    effect = f"{what} {value(row['estimate'], row['low'], row['high'], unit)}"
    return Decision(verdict, why, effect, row["estimate"], row["low"], row["high"], unit)


def ends(row: Row) -> str:
    """The interval of a row, empty where there is none."""
    return bracket(row["low"], row["high"], sign=True)


def span(row: Row) -> str:
    """The estimate of a row with its interval."""
    return f"{number(row['estimate'], sign=True)} {ends(row)}".strip()


MODEST = 50  # so many clips per emotion are modest identification data
KEPT = 0.8  # sets from few clips keep the effect if they surely reach this share of the full set's

DONE = {"deactivate": "switching them off", "steer": "amplifying them"}


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

ONE_DRAW = "one draw of control sets does not say how much sets differ"
"""Why an effect beyond a single draw supports no verdict."""

AT_CHANCE = "the untouched model is not clearly above chance: an effect would be one of how it answers, not of emotion"
"""Why nothing can be concluded where the model does not know the emotions."""


def holds(verdict: str | None) -> bool:
    """Whether a claim is supported, be it with reservations."""
    return verdict in (SUPPORTED, RESERVED)


def permuted_text(test: Test) -> str:
    """What the permutation null says of a test, and whether so many draws can decide; empty where none was asked.

    Example:
        >>> permuted_text(Test("exists", "", permutation_p=0.05, permutation_floor=0.05, permuted=19))
        'permuted labels: p = 0.050 (floor 0.050, 19 draws)'
        >>> permuted_text(Test("steers", "", permutation_p=0.4, permutation_floor=0.2, permuted=4))
        'permuted labels: p = 0.400 (4 draws cannot decide: it is at least 0.200)'
    """
    if test.permutation_p is None or test.permutation_floor is None:
        return ""
    least, draws = p_value(test.permutation_floor), f"{test.permuted} draw{'' if test.permuted == 1 else 's'}"
    few = test.permutation_floor > LEVEL
    about = f"{draws} cannot decide: it is at least {least}" if few else f"floor {least}, {draws}"
    return f"permuted labels: {p_text(test.permutation_p)} ({about})"


def stated(test: Test, what: str, unit: str, why: str = "", verdict: str | None = None) -> Decision:
    """A decision with the number of a test; its own verdict where no other is given."""
    if test.estimate is None:
        return Decision(verdict or test.verdict, why or test.why)
    digits = 2 if unit.startswith("nat") else 1
    text = f"{what} {value(test.estimate, test.low, test.high, unit, digits)}".strip()
    text += f", {null}" if (null := permuted_text(test)) else ""
    return Decision(verdict or test.verdict, why or test.why, text, test.estimate, test.low, test.high, unit)


def hurts(disproportionate: str | None, own: Row | None, verdict: str | None = None) -> Decision:
    """Switching off hurts the emotion: the declared claim of a larger share holds, and accuracy on its own clips falls.

    ``own`` is the effect ``excess_self``, ``verdict`` that of the table of verdicts.
    """
    if disproportionate in (None, UNTESTED):
        return untested("the declared test of a disproportionate loss could not be made")
    if no := unusable(own, "no matched neurons were switched off"):
        return untested(no)
    assert own is not None
    how = {
        "removes evidence": "it removes evidence", "pulls the answer": "it moves what is answered, not what is heard",
        "removes evidence and pulls the answer": "it removes evidence and moves what is answered",
        "adds evidence and pulls the answer": "it adds evidence and moves what is answered", "neither": "evidence and leaning stay as they were",
        "adds evidence": "it adds evidence", "undecided": "whether evidence is lost or only the answer moves is undecided",
    }.get(verdict or "", "")  # fmt: skip
    if not holds(disproportionate):
        return shown(own, UNSUPPORTED, "the loss is not shown to be disproportionate", "excess, own clips")
    if own["high"] < 0:
        return shown(own, str(disproportionate), how, "excess, own clips")
    return shown(own, UNSUPPORTED, "accuracy on the emotion’s own clips does not clearly fall", "excess, own clips")


def spares(disproportionate: str | None, test: Test | None) -> Decision:
    """The other emotions are spared: their relative loss is surely less than a third of the emotion's own.

    ``test`` is of :func:`~emoscope.analysis.declared.left_over`, which takes the error of both losses into account.
    """
    if not holds(disproportionate) or test is None or test.low is None:
        return untested("the emotion itself is not shown to be hurt more than others")
    less = test.low > 0
    why = f"the others’ loss is {'surely' if less else 'not surely'} less than a third of the own one"
    what = "others’ change less a third of the own"
    return stated(test, what, "% of the separation", why, disproportionate if less else UNSUPPORTED)


def pulls(test: Test | None, gap: Row | None) -> Decision:
    """Amplifying biases answers towards the emotion, beyond similar neurons: the interval lies above 0.

    ``test`` is of the pull over clips of all emotions at the headline's alpha, beyond matched draws and with their
    spread; ``gap`` the effect ``excess_pull_gap``, named beside it.
    """
    if test is None or test.low is None:
        return untested(test.why if test is not None else "no set was amplified beside matched neurons")
    beside = "" if gap is None or gap["low"] is None else f"excess pull gap {span(gap)}"
    up = test.low > 0
    why = "; ".join(filter(None, [None if up else "the interval is not above 0", beside]))
    return stated(test, "excess pull", "points", why, SUPPORTED if up else UNSUPPORTED)


class FewClips(NamedTuple):
    """Sets from so many clips per emotion, switched off: means over their draws, nat, beyond control sets.

    Attributes:
        beyond: the declared estimand; ``enough``: the same less :data:`KEPT` of the full set's.
        share: of the full set's, in %; ``None`` where that is not below 0.
    """

    size: int
    beyond: Test
    enough: Test
    share: float | None = None

    @property
    def holds(self) -> bool:
        """Whether they surely take evidence, and surely more than that share."""
        return all(test.high is not None and test.high < 0 for test in (self.beyond, self.enough))


def modest(hurt: Decision, full: int | None, sizes: Sequence[FewClips]) -> Decision:
    """Few clips are enough: sets from at most 50 clips per emotion surely keep 80 % of the evidence that the full set takes.

    They were found on at most half of the ``full`` set's clips per emotion. Of several sizes the largest is tested
    first, and each other one only where the next larger holds.
    """
    if not holds(hurt.verdict):
        return untested("the full set is not shown to hurt its emotion")
    most = MODEST if full is None else min(MODEST, full // 2)
    few = sorted((each for each in sizes if each.size <= most), key=lambda each: -each.size)
    if not few:
        return untested(f"no sets from at most {most} clips per emotion (half of the full set’s) were switched off")
    if few[0].beyond.low is None:
        return untested(few[0].beyond.why)
    enough = list(takewhile(lambda each: each.holds, few))
    each = enough[-1] if enough else few[0]
    share = "" if each.share is None else f"{each.share:.0f} % of the full set’s".replace("-", "−")
    unsure = "" if enough else f"at least {100 * KEPT:.0f} % is not sure"
    what = f"pairwise change with {each.size} clips"
    return stated(
        each.beyond, what, "nat", "; ".join(filter(None, [share, unsure])), SUPPORTED if enough else UNSUPPORTED
    )


def crowds(row: Row | None) -> Decision:
    """The neurons cluster over layers: more unevenly than every set of shuffled labels, by the interval's lower end."""
    if row is None:
        return untested("no sets of shuffled labels to compare with")
    if row["draws"] < FEWEST_PERMUTED:
        return untested(f"only {row['draws']} draws of shuffled labels: {FEWEST_PERMUTED} are needed")
    if row["low"] is None:
        return untested(row["reason"])
    why = f"shuffled labels: {row['shuffled']:.1f} % ({row['shuffled_min']:.1f} to {row['shuffled_max']:.1f})"
    text = f"{row['estimate']:.1f} % would have to move [{row['low']:.1f}, {row['high']:.1f}]"
    verdict = SUPPORTED if row["low"] > row["shuffled_max"] else UNSUPPORTED
    return Decision(verdict, why, text.replace("-", "−"), row["estimate"], row["low"], row["high"], "%")


def carries_over(test: Test, p_holm: float | None, own: str | None, kept: float | None, known: bool) -> Decision:
    """One corpus's sets act in another: the declared estimand lies below 0, after Holm over all pairs of corpora.

    Args:
        test: of the source's sets on the host's clips, beyond their matched draws.
        own: the verdict on the host's own sets.
        kept: what share of these sets' excess gap the source's keep, in %.
        known: whether the untouched model is clearly above chance on the host's clips.
    """
    if not known:
        return untested(AT_CHANCE)
    if test.estimate is None or test.low is None or p_holm is None:
        return untested(test.why or "there is no p value")
    part = "" if kept is None else f"keeps {kept:.0f} % of the gap of that corpus’s own sets".replace("-", "−")
    if p_holm < LEVEL and test.estimate < 0:
        return stated(test, "pairwise change", "nat", part, SUPPORTED)
    if not holds(own):
        return untested("that corpus’s own sets do nothing clear on these emotions either")
    why = f"{p_text(p_holm)} after correction for all pairs"
    return stated(test, "pairwise change", "nat", "; ".join(filter(None, [why, part])), UNSUPPORTED)


def handle(hurt: Decision, steers: str | None) -> Decision:
    """An actionable handle: switching off hurts the emotion, and the declared claim of steering holds.

    Example:
        >>> handle(Decision(SUPPORTED, ""), UNSUPPORTED).why
        'amplifying: not supported'
    """
    parts = dict(zip(DOING.values(), (hurt.verdict, steers or UNTESTED), strict=True))
    for verdict in (UNSUPPORTED, UNTESTED):
        which = [name for name, found in parts.items() if found == verdict]
        if which:
            return Decision(verdict, f"{' and '.join(which)}: {verdict}")
    reserved = RESERVED in parts.values()
    return Decision(RESERVED if reserved else SUPPORTED, "switching off and amplifying do both")
