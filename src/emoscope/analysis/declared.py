"""The declared claims: which tests there are, in which order they are made, and what each says.

All tests are of one estimand, the pairwise change (:mod:`~emoscope.analysis.pairs`), beyond control sets whose own
spread is part of the error. There are two fixed sequences; a claim is tested only if the one before it holds, and the
two first claims are corrected after Holm (1979) for being two. Pure functions of arrays: runs, simulated studies and
answers from elsewhere are judged by the same code.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from emoscope.analysis.beyond import Beyond, Names, Test
from emoscope.analysis.estimate import holm, permutation_p
from emoscope.analysis.pairs import Clips, PairChange
from emoscope.vocabulary import DEACTIVATE, LEVEL, MINIMUM_SPEAKERS, STEER
from emoscope.wording import p_text

RULE: Final = "4"
"""Version of these rules; manifests hold it.

1: excess gap and excess pull gap; 2: the same with the blind part named; 3: the pairwise change; 4: the permutation null.
"""

SUPPORTED, RESERVED = "supported", "supported with reservations"
UNSUPPORTED, UNTESTED = "not supported", "not testable"

FEWEST_EMOTIONS = 3  # a pair without the set's own emotion takes three
RANK_ONE_FROM = 4  # fewer emotions do not determine potency and fragility
FEWEST_DRAWS = 5  # fewer control sets do not say how much sets differ
FEWEST_ALPHAS = 3  # a slope of fewer strengths says little
CLOSEST, FRAGILE = (
    "closest: ",
    "a strong set on a fragile emotion would do as much",
)  # which part of a claim a number is of
SPARED = 1 / 3  # others are spared if what they lose is surely less than this share of the emotion's own loss


@dataclass(frozen=True)
class Claim:
    """What one claim says, and where in its sequence it stands."""

    name: str
    kind: str
    says: str
    measure: str
    unit: str


CLAIMS: tuple[Claim, ...] = (
    Claim("exists", DEACTIVATE, "Switching off an emotion’s neurons takes evidence for that emotion, more than for others", "pairwise change", "nat"),
    Claim("disproportionate", DEACTIVATE, "It takes a larger share of that emotion’s evidence than of the others’", "own minus other emotions", "% of the separation"),
    Claim("selective", DEACTIVATE, "It takes more from that emotion than from every single other one", "own minus closest other emotion", "% of the separation"),
    Claim("steers", STEER, "Amplifying them adds evidence for the emotion, more than for others", "pairwise change", "nat"),
    Claim("grows", STEER, "This grows with the strength of amplification", "slope", "nat per unit of alpha"),
    Claim("steers selectively", STEER, "It adds more to that emotion than to every single other one", "own minus closest other emotion", "% of the separation"),
)  # fmt: skip
"""The declared claims in the order in which they are tested; all of a kind form one sequence."""


@dataclass(frozen=True, eq=False)
class Act:
    """One intervention: under one set per target emotion, and under draws of control sets for the same emotions.

    ``permuted`` are draws of sets that the same selection found on permuted labels.
    """

    own: PairChange
    draws: tuple[PairChange, ...]
    permuted: tuple[PairChange, ...] = ()


@dataclass(frozen=True, eq=False)
class Evidence:
    """What all declared claims about one study rest on.

    Attributes:
        sizes: weight of each independent unit, dimension (unit).
        untouched: the untouched model's separations, nat, dimensions (1 + unit, emotion, emotion).
        testable: which pairs count, dimensions (emotion, emotion).
        off: the declared deactivation; ``None`` where there is none.
        amplified: alpha -> amplification by it.
        alpha: the declared one.
    """

    sizes: np.ndarray
    untouched: np.ndarray
    testable: np.ndarray
    off: Act | None = None
    amplified: Mapping[float, Act] | None = None
    alpha: float | None = None


def beyond(act: Act, sizes: np.ndarray, statistic: Callable[[PairChange], np.ndarray]) -> Beyond:
    """A statistic of a change, (1 + unit, ...), of the target sets and of every draw."""
    own, *draws = (statistic(change) for change in (act.own, *act.draws))
    own = own.reshape(len(own), -1)
    return Beyond(own, np.array(draws).reshape(len(draws), *own.shape), sizes)


def beyond_names(act: Act, sizes: np.ndarray, named: Callable[[PairChange], np.ndarray]) -> Beyond:
    """The mean over target sets of a statistic under their own names, of (1 + unit, target, name)."""
    own, *draws = (named(change) for change in (act.own, *act.draws))
    return over_names(own, np.array(draws).reshape(len(draws), *own.shape), sizes)


def over_names(own: np.ndarray, draws: np.ndarray, sizes: np.ndarray) -> Beyond:
    """The same of values under every name, (1 + unit, target, name), and of every draw's, (draw, 1 + unit, target, name)."""
    values, each = (np.einsum("...tt->...t", every).mean(axis=-1)[..., None] for every in (own, draws))
    return Beyond(values, each, sizes, Names.of(own - draws.mean(axis=0) if len(draws) else own, sizes))


def apart(change: PairChange) -> np.ndarray:
    """The mean over targets of own pairs minus other pairs, nat: the declared estimand; dimension (1 + unit)."""
    return np.asarray((change.own - change.others).mean(axis=1))


def apart_share(change: PairChange) -> np.ndarray:
    """The same in % of what the untouched model has of these pairs; dimension (1 + unit)."""
    return np.asarray((change.own_share - change.others_share).mean(axis=1))


def apart_by_name(change: PairChange) -> np.ndarray:
    """What :func:`apart` averages on its diagonal, of every set under every name; dimensions (1 + unit, target, name)."""
    return change.under_names(own=True) - change.under_names(own=False)


def apart_share_by_name(change: PairChange) -> np.ndarray:
    """What :func:`apart_share` averages on its diagonal; dimensions (1 + unit, target, name)."""
    return change.under_names(own=True, share=True) - change.under_names(own=False, share=True)


def left_over(others: float) -> Callable[[PairChange], np.ndarray]:
    """What other emotions lose, less a share of what the own one does, in %; dimension (1 + unit)."""
    return lambda change: np.asarray((change.others_share - others * change.own_share).mean(axis=1))


def above_rank_one(change: PairChange) -> np.ndarray:
    """The own change beyond a product of the set's potency and the emotion's fragility, in %; dimension (1 + unit).

    Potencies and fragilities, none below 0, are fitted by least squares to what sets do to other emotions than their
    own, in the direction of the mean own change; the product for the own emotion is what a strong set on a fragile
    emotion does without knowing it.
    """
    targets = list(change.targets)
    losses = change.losses[:, :, targets]
    sign = np.sign(np.einsum("rmm->r", losses)[0]) or 1.0
    fitted = rank_one(sign * losses)
    return np.asarray(np.einsum("rmm->rm", losses - sign * fitted).mean(axis=1))


def rank_one(matrix: np.ndarray, rounds: int = 20) -> np.ndarray:
    """The product of two vectors, none below 0, that is nearest to a square matrix off its diagonal; (..., set, emotion).

    Example:
        >>> fitted = rank_one(np.outer([1.0, 2.0, 3.0, 1.0], [1.0, 1.0, 2.0, 4.0]) + np.diag([9.0, 9.0, 9.0, 9.0]))
        >>> fitted.diagonal().round(3).tolist()
        [1.0, 2.0, 6.0, 4.0]
    """
    off = ~np.eye(matrix.shape[-1], dtype=bool)
    known = np.where(off & np.isfinite(matrix), matrix, 0.0)
    there = (off & np.isfinite(matrix)).astype(float)
    fragile = np.maximum(known.sum(axis=-2), 0.0)
    potent = np.zeros_like(fragile)
    for _ in range(rounds):
        potent = _share(known @ fragile[..., None], there @ fragile[..., None] ** 2)
        fragile = _share(known.swapaxes(-1, -2) @ potent[..., None], there.swapaxes(-1, -2) @ potent[..., None] ** 2)
    return potent[..., :, None] * fragile[..., None, :]


def _share(sums: np.ndarray, squares: np.ndarray) -> np.ndarray:
    found = np.divide(sums, squares, out=np.zeros_like(sums), where=squares > 0)
    return np.asarray(np.maximum(found[..., 0], 0.0))


def slope(evidence: Evidence) -> Beyond:
    """The least-squares slope of the estimand over all strengths from above 0 to 1, nat per unit of alpha."""
    acts = doses(evidence)
    alphas = np.array(list(acts))
    weights = (alphas - alphas.mean()) / ((alphas - alphas.mean()) ** 2).sum()
    draws = min(len(act.draws) for act in acts.values())

    def combined(change: int) -> np.ndarray:  # of the target sets (0) or a draw, over all strengths
        each = ((act.own, *act.draws)[change] for act in acts.values())
        return np.asarray(sum(weight * apart_by_name(one) for weight, one in zip(weights, each, strict=True)))

    every = np.stack([combined(change) for change in range(1 + draws)])
    return over_names(every[0], every[1:], evidence.sizes)


def doses(evidence: Evidence) -> dict[float, Act]:
    """The strengths from above 0 to 1 that have enough control sets, in rising order."""
    found = sorted((evidence.amplified or {}).items())
    return {alpha: act for alpha, act in found if 0 < alpha <= 1 and len(act.draws) >= FEWEST_DRAWS}


def _selective(act: Act, sizes: np.ndarray, sign: int, name: str) -> Test:
    """Own above every single other emotion, for every set; and, from four emotions on, above a rank-one fit."""
    nearest = beyond(act, sizes, lambda change: change.nearest)
    kept = np.isfinite(nearest.values).all(axis=0)
    heard = np.asarray(act.own.testable.any(axis=0))
    wanted = heard & (np.arange(len(heard)) != np.asarray(act.own.targets)[:, None])
    if (wanted.ravel() & ~kept).any():
        return Test(name, UNTESTED, "too few speakers (or sessions) to compare every emotion with every other one")
    nearest = Beyond(nearest.values[:, kept], nearest.draws[..., kept], sizes)
    # it takes all of them: the claim is as good as its weakest part (Berger 1982)
    place = int(nearest.one_sided(sign).argmax())
    closest = nearest.test(name, place)
    target, other = np.argwhere(kept.reshape(len(act.own.targets), -1))[place]
    closest = replace(closest, why=f"{CLOSEST}{{{act.own.targets[target]}}} and {{{other}}}")
    if len(act.own.targets) < RANK_ONE_FROM:
        return closest
    product = beyond(act, sizes, above_rank_one)
    if product.one_sided(sign)[0] <= nearest.one_sided(sign)[place]:
        return closest
    return replace(product.test(name), why=FRAGILE)


def judge(evidence: Evidence, onward: bool = True, gated: bool = True) -> dict[str, Test]:
    """All declared claims of one study by name, in the order of :data:`CLAIMS`.

    With ``onward`` what comes later in a failed sequence is computed, too, for whoever wants to see the numbers. Without
    ``gated`` a model that tells nothing apart is tested, too: for nulls, whose model is to know nothing.
    """
    found: dict[str, Test] = {}
    chosen = (evidence.amplified or {}).get(evidence.alpha or 0.0)
    for kind, sign, act in ((DEACTIVATE, -1, evidence.off), (STEER, 1, chosen)):
        head, second, third = (claim.name for claim in CLAIMS if claim.kind == kind)
        why = blocked(evidence, gated) or _lacking(kind, act)
        if why or act is None:
            found |= {name: Test(name, UNTESTED, why or "") for name in (head, second, third)}
            continue
        found[head] = with_permutation(beyond_names(act, evidence.sizes, apart_by_name).test(head), act, sign)
        if not onward and not _holds(found[head], sign, found[head].p):
            found |= {name: Test(name, UNSUPPORTED, "") for name in (second, third)}
            continue
        if kind == DEACTIVATE:
            found[second] = beyond_names(act, evidence.sizes, apart_share_by_name).test(second)
        elif len(doses(evidence)) >= FEWEST_ALPHAS:
            found[second] = slope(evidence).test(second)
        else:
            few = f"fewer than {FEWEST_ALPHAS} strengths up to 1 with {FEWEST_DRAWS} draws of control sets"
            found[second] = Test(second, UNTESTED, few)
        found[third] = _selective(act, evidence.sizes, sign, third)
    return corrected([found])[0]


def with_permutation(test: Test, act: Act, sign: int) -> Test:
    """The test with the p of the permutation null, in the direction of ``sign`` (1 or -1); as it is without such draws.

    The statistic is :func:`apart` of the target sets themselves: draws of permuted labels have no controls of their own.
    """
    if not act.permuted:
        return test
    own, *draws = (-sign * float(apart(change)[0]) for change in (act.own, *act.permuted))
    p, floor = permutation_p(own, draws)
    return replace(test, permutation_p=p, permutation_floor=floor, permuted=len(draws))


def _holds(test: Test, sign: int, p: float | None) -> bool:
    return test.estimate is not None and sign * test.estimate > 0 and p is not None and p < LEVEL


def corrected(studies: Sequence[Mapping[str, Test]]) -> list[dict[str, Test]]:
    """The verdicts of all claims, the first of every sequence corrected over all sequences and studies (corpora)."""
    heads = [(place, claim.name) for place, _ in enumerate(studies) for claim in CLAIMS if claim.name in HEADS]
    adjusted = dict(zip(heads, holm([studies[place][name].p for place, name in heads]), strict=True))
    found = []
    for place, study in enumerate(studies):
        decided: dict[str, Test] = {}
        for claim in CLAIMS:
            before = [decided[other.name] for other in CLAIMS if other.kind == claim.kind and other.name in decided]
            test = replace(study[claim.name], p_holm=adjusted.get((place, claim.name)))
            decided[claim.name] = _decide(test, claim, before)
        found.append(decided)
    return found


HEADS = ("exists", "steers")


def _decide(test: Test, claim: Claim, before: Sequence[Test]) -> Test:
    """The verdict with its reason, whatever was decided before; what a number is of is told beside it."""
    if test.verdict == UNTESTED or test.estimate is None:
        return test
    verdict, why = _decided(test, claim, before)
    about = [part for part in test.why.split("; ") if part.startswith((CLOSEST, FRAGILE))]
    return replace(test, verdict=verdict, why="; ".join(filter(None, (why, *about))))


def _decided(test: Test, claim: Claim, before: Sequence[Test]) -> tuple[str, str]:
    failed = next((other for other in before if other.verdict != SUPPORTED), None)
    if failed is not None:
        verdict = UNTESTED if failed.verdict == UNTESTED else UNSUPPORTED
        return verdict, f"it is tested only where “{failed.name}” holds"
    sign = -1 if claim.kind == DEACTIVATE else 1
    holds = _holds(test, sign, test.p if test.p_holm is None else test.p_holm)
    p, floor = test.permutation_p, test.permutation_floor
    if holds and p is not None and floor is not None and floor <= LEVEL < p:
        return UNSUPPORTED, f"sets found on permuted labels do as much: {p_text(p)}"
    return (SUPPORTED if holds else UNSUPPORTED), ""


def blocked(evidence: Evidence, gated: bool = True) -> str | None:
    """Why nothing can be tested: too few emotions or units, or, if ``gated``, nothing that the untouched model tells apart."""
    heard = int((evidence.testable.sum(axis=0) > 0).sum())
    if heard < FEWEST_EMOTIONS:
        return (
            f"only {heard} emotions have pairs of which at least {MINIMUM_SPEAKERS} speakers (or sessions) have both: "
            f"{FEWEST_EMOTIONS} are needed"
        )
    if not gated:
        return None
    kept = evidence.untouched[:, evidence.testable]
    level = Beyond(kept.mean(axis=1)[:, None], np.zeros((0, len(kept), 1)), evidence.sizes).test("untouched")
    if level.low is None or level.low <= 0:
        return "the untouched model does not clearly tell the emotions apart"
    return None


def _lacking(kind: str, act: Act | None) -> str | None:
    if act is None:
        return "no set was switched off" if kind == DEACTIVATE else "no set was amplified by the declared strength"
    if len(act.own.targets) < FEWEST_EMOTIONS:
        return f"only {len(act.own.targets)} emotions have sets and enough speakers: {FEWEST_EMOTIONS} are needed"
    if len(act.draws) < FEWEST_DRAWS:
        return f"{len(act.draws)} draws of control sets: {FEWEST_DRAWS} are needed"
    return None


NONE_PERMUTED: Final[Mapping[float | None, Sequence[np.ndarray]]] = {}


def gather(
    clips: Clips,
    untouched: np.ndarray,
    off: tuple[np.ndarray, Sequence[np.ndarray]] | None,
    amplified: Mapping[float, tuple[np.ndarray, Sequence[np.ndarray]]],
    targets: Sequence[int],
    alpha: float | None,
    permuted: Mapping[float | None, Sequence[np.ndarray]] = NONE_PERMUTED,
) -> Evidence:
    """Arrange log-probabilities for :func:`judge`; emotions without testable pairs of both kinds count no set.

    Args:
        untouched: of the untouched model, dimensions (item, option).
        off: under the target sets, dimensions (target, item, option), and under every control draw.
        amplified: the same for each strength.
        targets: codes of the emotions that have sets.
        alpha: the declared strength.
        permuted: under every draw of sets found on permuted labels: of ``off`` under ``None``, and of each strength.
    """
    level, pairs = clips.separations(untouched[None])[:, 0], clips.testable.sum()
    own_pairs = clips.testable.sum(axis=0)  # a set needs some of these, and others than these
    kept = [place for place, code in enumerate(targets) if 0 < 2 * own_pairs[code] < pairs]
    counted, size = [targets[place] for place in kept], len(kept)

    def act(under: tuple[np.ndarray, Sequence[np.ndarray]], by: float | None) -> Act:
        sets = [under[0], *under[1], *permuted.get(by, ())]
        change = clips.separations(np.concatenate([each[kept] for each in sets]) - untouched)
        parts = [change[:, size * draw : size * (draw + 1)] for draw in range(len(sets))]
        own, *draws = (PairChange(counted, part, level, clips.testable) for part in parts)
        return Act(own, tuple(draws[: len(under[1])]), tuple(draws[len(under[1]) :]))

    return Evidence(
        clips.sizes, level, clips.testable, None if off is None else act(off, None),
        {each: act(under, each) for each, under in amplified.items()}, alpha,
    )  # fmt: skip
