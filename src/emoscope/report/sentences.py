"""What is said first of a run or a study: what it concludes, and three sentences on what was measured; by rule, from the tables."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from emoscope.analysis.claim_rules import AT_CHANCE
from emoscope.analysis.declared import RESERVED, SUPPORTED, UNSUPPORTED, UNTESTED
from emoscope.analysis.effects import NO_BIAS, NO_EVIDENCE
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.standing import at_chance
from emoscope.report.caveats import MEASURES, close, standing, unlike
from emoscope.report.wording import CLEAR_HIGH, CLEAR_LOW, judge
from emoscope.wording import number, span

SIGNS = {SUPPORTED: "✓", RESERVED: "(✓)", UNSUPPORTED: "–", UNTESTED: "?"}
"""The outcomes of a claim, and the sign of each."""

EXPLORED = {
    "hurts": "recognition of the emotion falls",
    "spares": "the other emotions are spared",
    "pulls": "answers are biased towards it",
    "modest": "modest data are enough",
    "crowds": "neurons cluster over layers",
    "transfer": "sets transfer to another corpus",
    "handle": "an actionable handle",
}
"""What was exploration, in a few words each."""


@dataclass(frozen=True)
class Told:
    """One declared claim, or all of them, and what came of it.

    Attributes:
        verdict: one of the outcomes in :mod:`~emoscope.analysis.declared`.
        where: the words " on <corpus>", where a study has several.
        text: the claim in words, with its value, unit and interval.
    """

    verdict: str
    where: str
    text: str

    @property
    def lead(self) -> str:
        """Sign, outcome and corpus."""
        return f"{sign(self.verdict)} {self.verdict}{self.where}"

    @property
    def kind(self) -> str:
        """The outcome as a class of the style sheet."""
        return kind_of(self.verdict)


@dataclass(frozen=True)
class Conclusion:
    """What may be concluded: caveats, the declared claims, and what goes with them."""

    caveats: tuple[str, ...]
    claims: tuple[Told, ...]
    beside: tuple[str, ...]  # reservations that several claims share, and what was exploration

    def lines(self) -> list[str]:
        """All of it in the order in which it is read."""
        return [*self.caveats, *(f"{told.lead}: {told.text}" for told in self.claims), *self.beside]


def sign(verdict: str) -> str:
    """The sign of an outcome.

    Example:
        >>> sign("supported"), sign("not testable")
        ('✓', '?')
    """
    return SIGNS.get(verdict, "•")


def kind_of(verdict: str) -> str:
    """An outcome as a class of the style sheet.

    Example:
        >>> kind_of("not supported")
        'not-supported'
    """
    return verdict.replace(" ", "-")


def conclude(study: StudyRuns) -> Conclusion:
    """What a study concludes, in the words that page, terminal and notebook share; its claims are those of table ``claims``."""
    found = study.table("claims").to_dicts()
    reasons = {row["why"] for row in found if row["name"] != "transfer"}
    if found and {row["verdict"] for row in found} == {UNTESTED} and len(reasons) == 1:
        told = [Told(UNTESTED, "", f"all claims ({reasons.pop()})")]
        return Conclusion(tuple(standing(study)), tuple(told), ())
    claims: list[Told] = []
    beside: list[str] = []
    order = [main.name for main in study.mains]
    places = {name: place for place, name in enumerate(order)}
    found.sort(key=lambda row: places.get(row["corpus"], len(order)))
    for corpus, of_corpus in groupby(found, key=lambda row: row["corpus"]):
        rows = list(of_corpus)
        where = f" on {corpus}" if len(order) > 1 and corpus else ""
        declared = [row for row in rows if row["declared"]]
        shared = shared_reservations(declared)
        claims += _declared_claims(declared, shared, where)
        beside += [f"Reservations{where}: {'; '.join(shared)}."] if shared else []
        beside += _exploration([row for row in rows if not row["declared"]], where)
    return Conclusion(tuple(standing(study)), tuple(claims), tuple(beside))


def shared_reservations(rows: Sequence[Row]) -> list[str]:
    """The reservations that all claims supported with reservations have in common, where there are several of these."""
    of_claims = [row["why"].split("; ") for row in rows if row["verdict"] == RESERVED]
    return [why for why in of_claims[0] if all(why in whys for whys in of_claims)] if len(of_claims) > 1 else []


def _declared_claims(rows: Sequence[Row], shared: Sequence[str], where: str) -> list[Told]:
    whys = {row["why"] for row in rows}
    if len(rows) > 1 and len(whys) == 1 and {row["verdict"] for row in rows} == {UNTESTED}:
        return [Told(UNTESTED, where, f"all declared claims ({rows[0]['why']})")]
    claims = []
    for row in rows:
        why = "; ".join(why for why in (row["why"] or "").split("; ") if why and why not in shared)
        value = f": {row['number']}" if row["number"] else ""
        claims.append(Told(row["verdict"], where, f"{row['claim']}{value}{f' ({why})' if why else ''}"))
    return claims


def _exploration(rows: Sequence[Row], where: str) -> list[str]:
    """One line on what was not declared, by outcome."""
    texts = []
    for verdict in SIGNS:
        names = [_called(row) for row in rows if row["verdict"] == verdict]
        texts += [f"{sign(verdict)} {verdict}: {', '.join(names)}"] if names else []
    return [f"Exploration{where}, not corrected: {'; '.join(texts)}."] if texts else []


def _called(row: Row) -> str:
    name = str(EXPLORED.get(row["name"], row["name"]))
    return f"{name} (from {row['source']})" if row["source"] else name


def no_conclusion(part: Part) -> str | None:
    """Why no sentence may speak of an effect of this run's sets; ``None`` where it may."""
    return AT_CHANCE if at_chance(part.uar()) else None


CLEAR = (CLEAR_LOW, CLEAR_HIGH)

HEARD = {
    "removes evidence": "tell the emotion’s clips from others less well",
    "adds evidence": "tell the emotion’s clips from others better",
    "pulls the answer": "answer the emotion {way}, and tell its clips from others about as well",
    "removes evidence and pulls the answer": "tell the emotion’s clips from others less well, and answer it {way} besides",
    "adds evidence and pulls the answer": "tell the emotion’s clips from others better, and answer it {way} besides",
}
STILL = "changes neither how well the model tells the emotion’s clips from others nor what it leans towards"
OPEN = "makes the model tell the emotion’s clips from others less well, or only changes what it answers, is undecided"
SWITCHED = {
    **{name: f"Switching these neurons off makes the model {words}" for name, words in HEARD.items()},
    "neither": f"Switching these neurons off {STILL}",
    "undecided": f"Whether switching these neurons off {OPEN}",
}
AMPLIFIED = {
    **{name: f"Amplifying them makes the model {words}" for name, words in HEARD.items()},
    "neither": f"Amplifying them {STILL}",
    "undecided": f"Whether amplifying them {OPEN.replace('less well', 'better')}",
}
"""The verdicts of the rule in words, for neurons switched off and for neurons amplified."""


@dataclass(frozen=True)
class Sentence:
    """One sentence at the top of a report.

    Attributes:
        claim: what is claimed, without a full stop; the verdict where there is one.
        text: the number behind it and its interval.
        notes: what the reader must know with it, one sentence each.
    """

    claim: str
    text: str
    notes: tuple[str, ...] = ()


def headline(part: Part) -> list[Sentence]:
    """Three sentences without jargon: above chance? does switching off hurt? does amplifying pull?"""
    return [_knows(part), _switched_off(part), _amplified(part)]


def _knows(part: Part) -> Sentence:
    row = part.uar("baseline")
    if row is None or row["uar"] is None:
        return Sentence("What the model knows is open", "its answers without any change are missing.")
    text = (
        f"left untouched, it names the emotion of {number(row['uar'], 0)} % of the clips correctly, averaged over "
        f"{len(part.emotions)} emotions"
    )
    guess = f"guessing would give {number(row['chance'], 0)} %."
    if row["unreliable"]:
        claim = "The model hardly answers with the options offered"
        return Sentence(claim, f"{text}, but that supports no claim; {guess}")
    if row["low"] is None or not part.speakers:
        return Sentence("Whether the model recognises emotion is not decided", f"{text}; {guess}")
    clear = row["low"] > row["chance"]
    claim = "The model recognises emotion clearly above chance" if clear else "The model is not clearly above chance"
    return Sentence(claim, f"{text} ({span(row['low'], row['high'], 0)} %); {guess}")


def _switched_off(part: Part) -> Sentence:
    own, others = part.effect("deactivate", "self"), part.effect("deactivate", "cross")
    if own is None or own["estimate"] is None:
        return Sentence("Whether the selected neurons matter is open", "switching them off was not part of this run.")
    if why := no_conclusion(part):
        return Sentence("Nothing is concluded from switching these neurons off", f"{why}.")
    excess, blind = part.effect("deactivate", "excess_gap"), part.blind()
    of_blind = "" if blind is None else f" {blind.sentence()}"
    if excess is None or excess["estimate"] is None:
        moved = _moves(own["estimate"], "recognition of their emotion")
        if others is not None and others["estimate"] is not None:
            moved += f" and {_moves(others['estimate'], 'of the other emotions')}"
        return Sentence(
            "Whether these neurons matter more than others is open",
            f"switching them off {moved}, but matched control neurons were not tested.{of_blind}",
        )
    value = excess["estimate"]
    if judge(excess, part)[0] in CLEAR:
        text = (
            "beyond what similar neurons of the same layers do, recognition of the emotion falls by "
            f"{number(abs(value))} percentage points {'more' if value < 0 else 'less'} than that of the other emotions "
            f"{_size(excess)}"
        )
    else:
        text = (
            "whether it hurts the emotion more than the others, beyond what similar neurons of the same layers do, "
            f"{_open(part, excess)}"
        )
    claim = _claim(part, "deactivate", SWITCHED, "switching these neurons off does")
    return Sentence(claim, f"{text}.{of_blind}", _notes(part, "deactivate", unmatched=unlike(part)))


def _amplified(part: Part) -> Sentence:
    pull = part.effect("steer", "pull_overall")
    if pull is None or pull["estimate"] is None:
        return Sentence("Whether the selected neurons steer is open", "amplifying them was not part of this run.")
    if why := no_conclusion(part):
        return Sentence("Nothing is concluded from amplifying them", f"{why}.")
    excess = part.effect("steer", "excess_pull_overall")
    strength, value = f"amplified by {number(100 * (part.alpha or 0), 0)} %", pull["estimate"]
    if excess is None or excess["estimate"] is None:
        return Sentence(
            "Whether these neurons steer more than others is open",
            f"{strength}, they draw {number(abs(value))} percentage points {'more' if value >= 0 else 'fewer'} of the clips to "
            "their emotion, but matched control neurons were not amplified.",
        )
    value = excess["estimate"]
    if judge(excess, part)[0] in CLEAR:
        text = (
            f"they draw {number(abs(value))} percentage points {'more' if value > 0 else 'fewer'} of the clips to their "
            f"emotion than similar neurons do {_size(excess)}"
        )
    else:
        text = f"whether they draw more clips to their emotion than similar neurons do {_open(part, excess)}"
    claim = _claim(part, "steer", AMPLIFIED, "amplifying them does")
    return Sentence(claim, f"{strength}, {text}.", _notes(part, "steer", own=_own_clips(part)))


def _claim(part: Part, kind: str, words: Mapping[str, str], what: str) -> str:
    row = part.verdict(kind)
    if row is None:
        return f"There is no verdict on what {what}"
    if row["verdict"] is None:
        return f"There is no verdict on what {what} ({row['reason']})"
    way = "less" if (row["excess_bias"] or 0) < 0 else "more"
    little = all(abs(row[f"excess_bias_{end}"] or 0) <= NO_BIAS for end in ("low", "high"))
    return words[row["verdict"]].format(way=f"a little {way}" if little else way)


def _notes(part: Part, kind: str, own: str | None = None, unmatched: str | None = None) -> tuple[str, ...]:
    """What goes on with the claim, on what the verdict rests, and what may be told against both."""
    notes = (own, _decided(part, kind), unmatched, close(part, kind, MEASURES[kind]))
    return tuple(note for note in notes if note)


def _decided(part: Part, kind: str) -> str | None:
    """The two numbers on which the verdict rests."""
    row = part.verdict(kind)
    if row is None or row["excess_evidence"] is None or row["excess_bias"] is None:
        return None
    parts, small = [], []
    for name, measure, unit, digits, most in (
        ("evidence", "evidence", "AUC points", 1, NO_EVIDENCE),
        ("leaning towards the emotion on other clips", "bias", "nat", 2, NO_BIAS),
    ):
        low, high = row[f"excess_{measure}_low"], row[f"excess_{measure}_high"]
        within = "" if low is None else f" ({span(low, high, digits)})"
        parts.append(f"{name} {number(row[f'excess_{measure}'], digits, sign=True)} {unit}{within}")
        if low is not None and (low > 0 or high < 0) and max(-low, high) <= most:
            small.append(f"{name.split()[0]} (within ±{most:g} {unit})")
    why = f"; undecided: {row['reason']}" if row["verdict"] == "undecided" and row["reason"] else ""
    lead = "A verdict would rest" if row["verdict"] is None else "The verdict rests"
    sizes = f" Clear of zero, but small: the change of {' and of '.join(small)}." if small else ""
    return f"{lead} on selected minus similar neurons: {', '.join(parts)}{why}.{sizes}"


def _own_clips(part: Part) -> str | None:
    """Whether steering pulls the emotion's own clips more than the others: the excess pull gap."""
    gap = part.effect("steer", "excess_pull_gap")
    if gap is None or gap["estimate"] is None or gap["low"] is None:
        return None
    text = f"excess pull gap {number(gap['estimate'], sign=True)} points, {span(gap['low'], gap['high'])}"
    if judge(gap, part)[0] not in CLEAR:
        return f"Whether they draw clips of their own emotion more than others is open ({text})."
    more = "more" if gap["estimate"] > 0 else "less"
    return f"They draw clips of their own emotion {more} than others ({text})."


def _open(part: Part, row: Mapping[str, Any]) -> str:
    value = f"difference {number(row['estimate'], sign=True)} points"
    if row["unreliable"]:
        return f"cannot be said from answers that support no claim ({value})"
    if row["low"] is None or not part.speakers:
        reason = "speakers are unknown" if not part.speakers else "there are too few speakers for an interval"
        return f"is left without a conclusion, since {reason} ({value})"
    return f"remains open ({value}, {span(row['low'], row['high'])})"


def _size(row: Mapping[str, Any]) -> str:
    """The interval of what is said without its sign."""
    low, high = (row["low"], row["high"]) if row["estimate"] >= 0 else (-row["high"], -row["low"])
    return f"({span(low, high)})"


def _moves(points: float, what: str) -> str:
    if abs(points) < 0.05:
        return f"leaves {what} as it was"
    return f"{'lowers' if points < 0 else 'raises'} {what} by {number(abs(points))} percentage points"
