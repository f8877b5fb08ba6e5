"""How often the declared claims hold on a finished run where nothing can be there: ``python -m emoscope.testing.stored RUN``.

Two kinds of null, of the run's own answers. *Permuted labels*: the true emotions are exchanged among the clips of each
speaker. The untouched model then tells nothing apart either, and most such studies are not testable; how often each
claim's own test would hold is told beside. *Draws as targets*: each draw of the control sets poses as the target
sets, the others as its controls.
"""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from emoscope.analysis.claim_rules import holds
from emoscope.analysis.declared import CLAIMS, blocked, gather, judge
from emoscope.analysis.headline import Asked, Under, declared_evidence
from emoscope.analysis.load import read_run
from emoscope.analysis.pairs import Clips
from emoscope.analysis.responses import build_responses
from emoscope.neurons.controls import seeded_generator
from emoscope.vocabulary import DEACTIVATE, LEVEL


@dataclass(frozen=True)
class Null:
    """In how many studies of one kind each claim held.

    Attributes:
        studies: claim -> how many were judged; ``testable``: in how many it could be tested.
        supported: by its rule, in its sequence.
        alone, either: its own test at 5 %, with nothing before it and no gate, in its direction and in either (which
            says nothing of claims that rest on the weakest of several tests).
    """

    name: str
    studies: Counter[str]
    testable: Counter[str]
    supported: Counter[str]
    alone: Counter[str]
    either: Counter[str]


def permuted(asked: Asked, rng: np.random.Generator) -> Asked:
    """The same answers with the true emotions of each speaker's clips in another order.

    Example:
        >>> clips = Clips(np.array([0, 1, 1, 2]), np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1]), 3)
        >>> asked = Asked(clips, np.zeros((4, 3)), None, {}, (0, 1, 2), None)
        >>> sorted(permuted(asked, np.random.default_rng(0)).clips.truth[:2].tolist())
        [0, 1]
    """
    clips = asked.clips
    truth = clips.truth.copy()
    for who in np.unique(clips.speaker):
        mine = np.flatnonzero(clips.speaker == who)
        truth[mine] = rng.permutation(truth[mine])
    return asked._replace(clips=Clips(truth, clips.speaker, clips.unit, clips.options))


def posing(asked: Asked) -> Iterator[Asked]:
    """Each draw of control sets as the target, beside the others; an act without such a draw is left out."""

    def as_target(under: Under, draw: int) -> Under:
        draws = under[1]
        return draws[draw], [each for place, each in enumerate(draws) if place != draw]

    off = asked.off if asked.off is not None else (np.zeros(0), [])
    for draw in range(max(len(draws) for _, draws in (off, *asked.amplified.values()))):
        amplified = {alpha: as_target(under, draw) for alpha, under in asked.amplified.items() if draw < len(under[1])}
        yield asked._replace(off=as_target(off, draw) if draw < len(off[1]) else None, amplified=amplified)


def count(name: str, studies: Iterable[Asked]) -> Null:
    """Judge studies as a run is judged, and each test by itself as if the untouched model told emotions apart."""
    found = Null(name, *(Counter() for _ in range(5)))
    for asked in studies:
        evidence = gather(*asked)
        why = blocked(evidence)
        # changes keep their own untouched separations: only the gate sees others
        tests = judge(replace(evidence, untouched=np.ones_like(evidence.untouched)))
        for claim in CLAIMS:
            test, sign = tests[claim.name], -1 if claim.kind == DEACTIVATE else 1
            acts = asked.off if claim.kind == DEACTIVATE else asked.amplified.get(asked.alpha or 0.0)
            found.studies[claim.name] += acts is not None
            if test.estimate is None or test.p is None:
                continue
            found.testable[claim.name] += why is None
            found.supported[claim.name] += why is None and holds(test.verdict)
            found.either[claim.name] += test.p < LEVEL
            found.alone[claim.name] += test.p < LEVEL and sign * test.estimate > 0
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row for each claim: in what share of studies it held, by the rule and by its tests alone."""
    parser = argparse.ArgumentParser(prog="python -m emoscope.testing.stored", description=__doc__)
    parser.add_argument("run", type=Path, help="the folder of a finished run")
    parser.add_argument("--permutations", type=int, default=1000)
    given = parser.parse_args(argv)
    run = read_run(given.run)
    found = declared_evidence(run, build_responses(run))
    if found is None:
        print("nothing was asked under the headline’s sets")
        return 1
    rngs = (seeded_generator("permuted labels", place) for place in range(given.permutations))
    nulls = [
        count("permuted labels", (permuted(found.asked, rng) for rng in rngs)),
        count("draws as targets", posing(found.asked)),
    ]
    print("| null | claim | studies | testable | supported, % | its test alone, % | in either direction, % |")
    print("|---|---|---|---|---|---|---|")
    for null in nulls:
        for name in (claim.name for claim in CLAIMS):
            number = null.studies[name]
            counts = [null.supported, null.alone, *([] if "select" in name else [null.either])]
            held = [*(f"{100 * held[name] / max(1, number):.1f}" for held in counts), ""][:3]
            print(f"| {null.name} | {name} | {number} | {null.testable[name]} | {' | '.join(held)} |")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
