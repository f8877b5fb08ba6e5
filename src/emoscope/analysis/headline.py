"""What the declared claims about a run rest on: the answers under the headline's sets and under its control sets."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import numpy as np
import polars as pl

from emoscope.analysis.claim_rules import KEPT, ONE_DRAW, TOO_UNRELIABLE, FewClips
from emoscope.analysis.contrasts import Compared, Conditions, families, measures, shared
from emoscope.analysis.declared import (
    FEWEST_DRAWS,
    NONE_PERMUTED,
    UNTESTED,
    Beyond,
    Evidence,
    Test,
    apart_by_name,
    beyond_names,
    blocked,
    gather,
    over_names,
)
from emoscope.analysis.load import Run
from emoscope.analysis.pairs import Clips
from emoscope.analysis.responses import Responses
from emoscope.vocabulary import (
    BASELINE,
    DEACTIVATE,
    FEWER,
    MATCHED,
    MINIMUM_SPEAKERS,
    ORTHOGONAL,
    SHUFFLED,
    STEER,
    TARGET,
)

CONTROLS: Final = (ORTHOGONAL, MATCHED)
"""The controls beyond which claims are tested, the first of them that has enough draws: see docs/method.md."""


Under = tuple[np.ndarray, Sequence[np.ndarray]]


class Asked(NamedTuple):
    """The answers that a run's evidence is gathered from: what :func:`~emoscope.analysis.declared.gather` takes."""

    clips: Clips
    untouched: np.ndarray
    off: Under | None
    amplified: Mapping[float, Under]
    targets: Sequence[int]
    alpha: float | None
    permuted: Mapping[float | None, Sequence[np.ndarray]] = NONE_PERMUTED


@dataclass(frozen=True, eq=False)
class Declared:
    """A run's evidence, and what it was taken from.

    Attributes:
        asked: the answers, of which the evidence holds sums.
        control: beyond which control sets it is, perhaps too few of them; ``None`` where there are none.
        labels: the options by code.
        conditions: all conditions that it rests on, but for the ``permuted`` ones, of the permutation null.
        clips: how many clips (or items) count; ``left_out``: how many do not, as they were not asked under all
            conditions or do not offer every option.
        unit: what is left out together: ``"speaker"`` or ``"session"``.
        few: how many of the last draws are no controls, but sets from few clips.
        unreliable_draws: how many permuted draws are left out for their answers, under the intervention with most such.
    """

    evidence: Evidence
    asked: Asked
    control: str | None
    labels: tuple[str, ...]
    conditions: frozenset[str]
    permuted: frozenset[str]
    clips: int
    left_out: int
    unit: str
    few: int = 0
    unreliable_draws: int = 0


def declared_evidence(
    run: Run,
    responses: Responses,
    roles: Sequence[str] = ("headline", "dose"),
    size: int | None = None,
    unreliable: Set[str] = frozenset(),
) -> Declared | None:
    """The evidence of a run's headline; ``None`` where nothing was asked under its sets.

    Sets act at all positions and layers; they are switched off to zero, or amplified by any strength. ``roles`` are
    those of the conditions that count (``"transferred"`` for sets of another corpus). Draws of the headline's sets from
    ``size`` clips an emotion, where it is given, stand behind those of the control sets. A draw of permuted labels counts
    where no condition of it is ``unreliable``; of the other conditions the caller judges that.
    """
    if "baseline" not in responses.rows:
        return None
    drawn: dict[tuple[str, float | None], dict[str, dict[int, Conditions]]] = defaultdict(lambda: defaultdict(dict))
    for family, members in families(responses, run.conditions):
        everywhere = (family["positions"], family["layers"]) == ("all", "all") and family["to"] != "mean"
        if everywhere and family["role"] in (*roles, "few clips") and family["size"] in (None, size):
            drawn[family["kind"], family["alpha"]][family["control"]][family["draw"] or 0] = members
    # a draw stands at the same place under every intervention
    found = {
        key: {control: [by_draw[draw] for draw in sorted(by_draw)] for control, by_draw in draws.items()}
        for key, draws in drawn.items()
    }
    own = {key: draws[TARGET][0] for key, draws in found.items() if draws.get(TARGET)}
    if not own:
        return None
    most = {name: max(len(found[key].get(name, [])) for key in own) for name in CONTROLS}
    there = [name for name in CONTROLS if most[name]]
    control = next((name for name in there if most[name] >= FEWEST_DRAWS), there[0] if there else None)
    draws = {key: [*(found[key].get(control, []) if control else []), *found[key].get(FEWER, [])] for key in own}
    every = [*own.values(), *(draw for each in draws.values() for draw in each)]
    targets, used = shared(responses, every)
    with np.errstate(invalid="ignore"):  # NaN where an item does not offer an option
        logp = -np.logaddexp(0, -responses.log_odds)  # among the item's options
    wanted = sorted({"baseline"}.union(*(draw.values() for draw in every)))
    rows = [responses.rows[name] for name in wanted]
    used = used & np.isfinite(logp[rows]).all(axis=(0, 2))
    if not targets or not used.any():
        return None
    units, unit = independent_units(run, responses)
    clips = Clips(responses.truth[used], _dense(responses.speaker[used]), _dense(units[used]), len(responses.labels))

    def asked_of(draw: Conditions) -> np.ndarray:
        return np.stack([logp[responses.rows[draw[name]]][used] for name in targets])

    def under(key: tuple[str, float | None]) -> Under:
        return asked_of(own[key]), [asked_of(draw) for draw in draws[key]]

    # no item is left out for want of these: a draw counts where all of its sets were asked about all that do, and where its
    # answers are reliable, as those under the target sets must be
    def counts(draw: Conditions) -> bool:
        return draw.keys() >= set(targets) and bool(np.isfinite(asked_of(draw)).all())

    def reliable(draw: Conditions) -> bool:
        return unreliable.isdisjoint(draw[name] for name in targets)

    every_whole = {key: [draw for draw in found[key].get(SHUFFLED, ()) if counts(draw)] for key in own}
    whole = {key: [draw for draw in drawn_so if reliable(draw)] for key, drawn_so in every_whole.items()}
    lost = max(len(every_whole[key]) - len(whole[key]) for key in own)
    permuted = {key[1]: [asked_of(draw) for draw in kept] for key, kept in whole.items()}
    amplified: Mapping[float, Under] = {key[1]: under(key) for key in own if key[0] == STEER and key[1] is not None}
    off = under((DEACTIVATE, None)) if (DEACTIVATE, None) in own else None
    codes = [responses.labels.index(name) for name in targets]
    asked = Asked(clips, logp[responses.rows["baseline"]][used], off, amplified, codes, _alpha(run), permuted)
    left_out = int(len(used) - used.sum())
    of_null = frozenset(name for kept in whole.values() for draw in kept for name in draw.values())
    return Declared(
        gather(*asked), asked, control, responses.labels, frozenset(wanted), of_null, int(used.sum()), left_out, unit,
        max(len(found[key].get(FEWER, [])) for key in own), lost,
    )  # fmt: skip


def pull(compared: Sequence[Compared]) -> Test | None:
    """How far the headline's amplification draws answers of clips of all emotions to its own, beyond matched draws.

    In points, with the spread of the draws in its error; ``None`` where no matched set was amplified, or speakers are few.
    """
    for case in compared:
        if case.headline and case.family["kind"] == STEER and case.excess is not None:
            own, *draws = (measures(change)["pull_overall"] for change in (case.excess.own, *case.excess.matched))
            if (own.sizes > 0).sum() < MINIMUM_SPEAKERS:
                return None
            if case.excess.beyond.unreliable:
                return Test("pulls", UNTESTED, TOO_UNRELIABLE)
            if len(draws) < 2:
                return Test("pulls", UNTESTED, ONE_DRAW)
            stacked = np.array([draw.values for draw in draws])[..., None]
            return Beyond(own.values[:, None], stacked, own.sizes).test("pulls")
    return None


def few_clips(run: Run, responses: Responses, size: int, unreliable: Set[str] = frozenset()) -> FewClips | None:
    """What the headline's sets from so many clips an emotion do when switched off; ``None`` where they were not asked."""
    off = replace(run, conditions=run.conditions.filter(pl.col("kind").is_in([BASELINE, DEACTIVATE])))
    found = declared_evidence(off, responses, ("headline",), size)
    if found is None or not found.few:
        return None
    if not unreliable.isdisjoint(found.conditions):
        lacking = Test("modest", UNTESTED, TOO_UNRELIABLE)
        return FewClips(size, lacking, lacking)
    return from_few(found.evidence, found.few, size)


def from_few(evidence: Evidence, few: int, size: int) -> FewClips:
    """The same of evidence whose last draws, ``few`` of them, are sets from few clips and no controls."""
    off, why = evidence.off, blocked(evidence)
    if off is None or not off.own.targets:
        why = why or "no emotion that has sets has enough speakers"
    if off is None or why or len(off.draws) < few + 2:
        lacking = Test("modest", UNTESTED, why or ONE_DRAW)
        return FewClips(size, lacking, lacking)
    full, *others = (apart_by_name(change) for change in (off.own, *off.draws))
    controls, found = np.stack(others[:-few]), np.mean(others[-few:], axis=0)
    beyond = over_names(found, controls, evidence.sizes)
    enough = over_names(found - KEPT * full, (1 - KEPT) * controls, evidence.sizes)
    whole = over_names(full, controls, evidence.sizes)
    share = 100 * float(beyond.estimate[0] / whole.estimate[0]) if whole.estimate[0] < 0 else None
    return FewClips(size, beyond.test("modest"), enough.test("modest"), share)


def carried(evidence: Evidence) -> Test:
    """The declared estimand of one corpus's sets on another's clips when switched off, beyond their matched draws."""
    off, lacking = evidence.off, Test("transfer", UNTESTED)
    if off is None or not off.draws:
        return replace(lacking, why="the sets did not act there")
    if why := blocked(evidence) or (ONE_DRAW if len(off.draws) < 2 else None):
        return replace(lacking, why=why)
    if not off.own.targets:
        return replace(lacking, why="no emotion that has sets has enough speakers there")
    return beyond_names(off, evidence.sizes, apart_by_name).test("transfer")


def _alpha(run: Run) -> float | None:
    declared = run.conditions.filter(pl.col("headline").fill_null(False), kind=STEER)
    return None if declared.is_empty() else float(declared["alpha"][0])


def _dense(codes: np.ndarray) -> np.ndarray:
    return np.unique(codes, return_inverse=True)[1]


def independent_units(run: Run, responses: Responses) -> tuple[np.ndarray, str]:
    """The independent unit of each item, (item), and what it is: the session where speakers share one, else the speaker.

    Speakers of one session answer each other. Sessions are the unit where every speaker stands in one alone, and some
    session holds several.
    """
    where = {item: place for place, item in enumerate(responses.items.tolist())}
    rows = run.items.filter(pl.col("item").is_in(list(where))).select("item", "session")
    sessions: list[str | None] = [None] * len(where)
    for item, session in rows.iter_rows():
        sessions[where[item]] = session
    if None in sessions:
        return responses.speaker, "speaker"
    of_speaker = defaultdict(set)
    for speaker, session in zip(responses.speaker.tolist(), sessions, strict=True):
        of_speaker[speaker].add(session)
    names = {name for each in of_speaker.values() for name in each}
    if any(len(each) > 1 for each in of_speaker.values()) or not 1 < len(names) < len(of_speaker):
        return responses.speaker, "speaker"
    return np.unique(np.array(sessions), return_inverse=True)[1], "session"
