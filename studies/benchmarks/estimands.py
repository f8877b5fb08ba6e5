"""Candidates for the declared estimand in studies of known truth: how often "exists" would be called supported.

The criterion stands in docs/calibration.md. Run: ``python studies/benchmarks/estimands.py --studies 500``.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial

import numpy as np

from emoscope.analysis.declared import Beyond, apart
from emoscope.analysis.estimate import ratio, replicates
from emoscope.analysis.pairs import PairChange
from emoscope.analysis.responses import log_odds
from emoscope.neurons.controls import seeded_generator
from emoscope.testing.calibration import Cell
from emoscope.testing.worlds import NULLS, REAL, Answers, World, simulate

Statistic = Callable[
    [Answers, np.ndarray], list[np.ndarray]
]  # study, logits (sets, target, item, option) -> (1 + unit) each


def _pairs(measure: str, study: Answers, under: np.ndarray) -> list[np.ndarray]:
    clips, targets = study.clips, range(study.clips.options)
    together = np.concatenate([study.untouched[None], under.reshape(-1, *study.untouched.shape)])
    found = getattr(clips, measure)(together)
    before, change = found[:, 0], found[:, 1:] - found[:, :1]
    parts = np.split(change, len(under), axis=1)
    return [apart(PairChange(targets, part, before, clips.testable)) for part in parts]


def _mean_matrix(study: Answers, moved: np.ndarray) -> np.ndarray:
    """Means of (target, item) over the clips of every emotion, dimensions (1 + unit, target, emotion)."""
    clips = study.clips
    cells = clips.unit * clips.options + clips.truth
    size = clips.units * clips.options

    def summed(values: np.ndarray) -> np.ndarray:
        return replicates(np.bincount(cells, values, size).reshape(clips.units, clips.options))

    counts = summed(np.ones(len(cells)))
    return np.stack([ratio(summed(values), counts) for values in moved], axis=1)


def _own_minus_others(matrix: np.ndarray) -> np.ndarray:
    size = matrix.shape[-1]
    own = np.einsum("rmm->r", matrix) / size
    return np.asarray(own - (matrix.sum(axis=(1, 2)) - own * size) / (size * (size - 1)))


def _gap(study: Answers, every: np.ndarray) -> list[np.ndarray]:
    return [_gap_of(study, under) for under in every]


def _gap_of(study: Answers, under: np.ndarray) -> np.ndarray:
    right = (under.argmax(axis=-1) == study.clips.truth).astype(float)
    before = study.untouched.argmax(axis=-1) == study.clips.truth
    return _own_minus_others(_mean_matrix(study, 100 * (right - before)))


def _log_odds(study: Answers, every: np.ndarray) -> list[np.ndarray]:
    codes, before = range(study.clips.options), log_odds(study.untouched)
    moved = ((log_odds(under) - before)[codes, :, codes] for under in every)
    return [_own_minus_others(_mean_matrix(study, each)) for each in moved]


CANDIDATES: dict[str, Statistic] = {
    "pairwise change": partial(_pairs, "separations"),
    "within-speaker AUC": partial(_pairs, "aucs"),
    "gap": _gap,
    "log-odds": _log_odds,
}


def supported(world: World, name: str, study: int) -> list[bool]:
    """Which candidates call the claim supported in one study: two-sided p below 0.05, in the direction of a loss."""
    answers = simulate(world, seeded_generator("estimand", name, study))
    own, draws = answers.off
    found = []
    for statistic in CANDIDATES.values():
        values = np.stack(statistic(answers, np.stack([own, *draws])))[..., None]
        test = Beyond(values[0], values[1:], answers.clips.sizes).test("")
        found.append(test.p is not None and test.p < 0.05 and (test.estimate or 0) < 0)
    return found


def main() -> None:
    """Print a row a world: shares in %, in bold where the claim is false and is called supported too often."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=500, help="of each world")
    parser.add_argument("--jobs", type=int, default=2)
    asked = parser.parse_args()
    print(f"| world | exists | {' | '.join(CANDIDATES)} |\n|---|---|{'---|' * len(CANDIDATES)}")
    worlds = {**NULLS, "a loss of 2 %": World(loss=0.02), **REAL}
    with ProcessPoolExecutor(asked.jobs) as pool:
        for name, world in worlds.items():
            bare = World(**{**vars(world), "alphas": ()})
            rows = list(pool.map(partial(supported, bare, name), range(asked.studies), chunksize=25))
            truth = world.truths()["exists"]
            cells = [
                Cell(name, each, truth, asked.studies, sum(row[place] for row in rows), 0)
                for place, each in enumerate(CANDIDATES)
            ]
            shares = [f"{100 * cell.share:.1f}" if cell.holds else f"**{100 * cell.share:.1f}**" for cell in cells]
            print(f"| {name} | {'true' if truth else 'false'} | {' | '.join(shares)} |", flush=True)


if __name__ == "__main__":
    main()
