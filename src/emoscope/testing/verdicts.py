"""Which verdict simulated studies of known nature get: ``python -m emoscope.testing.verdicts``."""

from __future__ import annotations

import argparse
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial

import numpy as np

from emoscope.analysis.effects import heard_and_leant, verdict
from emoscope.neurons.controls import seeded_generator
from emoscope.testing.worlds import NULLS, REAL, Answers, World, simulate

NONE = "none"
VERDICTS = (
    "removes evidence", "removes evidence and pulls the answer", "adds evidence", "adds evidence and pulls the answer",
    "pulls the answer", "neither", "undecided", NONE,
)  # fmt: skip
KINDS = ("off", "amplified")
ALPHA = 0.5  # the declared strength in simulated studies


Said = tuple[str, float]  # a verdict, and the evidence that was lost or gained, AUC points


def judged(world: World, name: str, study: int) -> tuple[Said, Said]:
    """What is said of one simulated study, switched off and amplified; the same for the same name and number."""
    answers = simulate(replace(world, alphas=(ALPHA,)), seeded_generator("verdicts", name, study))
    return _said(answers, *answers.off), _said(answers, *answers.amplified[ALPHA])


def _said(answers: Answers, own: np.ndarray, draws: Sequence[np.ndarray]) -> Said:
    own, *controls = (each - np.logaddexp.reduce(each, axis=-1, keepdims=True) for each in (own, *draws))
    rests = heard_and_leant(answers.clips, own, controls, range(answers.clips.options))
    if isinstance(rests, str):
        return NONE, np.nan
    found = verdict(*((float(test.low or 0), float(test.high or 0)) for test in rests))[0]
    return found, float(rests[0].estimate or 0)


def confusion(
    worlds: Mapping[str, World], studies: int, jobs: int = 1
) -> Iterator[tuple[str, str, Counter[str], np.ndarray]]:
    """How often each verdict is given and the evidence of every study, for each world and kind of intervention."""
    with ProcessPoolExecutor(jobs) as pool:
        for name, world in worlds.items():
            found = list(pool.map(partial(judged, world, name), range(studies), chunksize=10))
            for kind, said in zip(KINDS, zip(*found, strict=True), strict=True):
                yield name, kind, Counter(word for word, _ in said), np.array([evidence for _, evidence in said])


def main(argv: Sequence[str] | None = None) -> int:
    """Print the matrix of verdicts and worlds, in % of the studies, and the mean evidence with its standard error."""
    parser = argparse.ArgumentParser(prog="python -m emoscope.testing.verdicts", description=__doc__)
    parser.add_argument("--studies", type=int, default=200, help="of each world")
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="worlds whose name holds this")
    asked = parser.parse_args(argv)
    worlds = {name: world for name, world in {**NULLS, **REAL}.items() if asked.only in name}
    print(f"| world | sets | {' | '.join(VERDICTS)} | evidence |\n|---|---|{'---|' * (1 + len(VERDICTS))}")
    for name, kind, said, evidence in confusion(worlds, asked.studies, asked.jobs):
        shares = [f"{100 * said[each] / asked.studies:.0f}" if said[each] else "" for each in VERDICTS]
        mean = f"{np.nanmean(evidence):+.2f} ± {np.nanstd(evidence) / asked.studies**0.5:.2f}"
        print(f"| {name} | {kind} | {' | '.join(shares)} | {mean} |", flush=True)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
