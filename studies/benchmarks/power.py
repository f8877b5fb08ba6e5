"""What `emoscope power` expects of simulated studies, beside the share of them in which the claims are supported.

Spreads are measured in large studies of the same world, as runs of many speakers would give them; what is expected is
the mean over these, with the lowest and the highest. Nothing is amplified to any effect, so the first claim is tested at
half the level, as `emoscope power` takes it.

    python studies/benchmarks/power.py --studies 600          # 15 minutes on one core
    python studies/benchmarks/power.py --five --studies 150   # what five speakers can decide, 4 minutes
"""

from __future__ import annotations

import argparse
from dataclasses import replace

import numpy as np

from emoscope.analysis.answer_table import answer_table
from emoscope.analysis.power import power, spread_of
from emoscope.testing.calibration import judged
from emoscope.testing.worlds import World, simulate

POINTS = {
    "25 speakers, a loss of 2 %": World(loss=0.02),
    "10 speakers, a loss of 2 %": World(speakers=10, loss=0.02),
    "10 speakers in 5 sessions, 4 emotions, a loss of 4 %": World(
        speakers=10, sessions=5, emotions=4, clips=12, loss=0.04, own_loss=0.03
    ),
    "25 speakers, sets of their own, a loss of 10 %": World(loss=0.1, own_loss=0.1, own_shift=0.5),
    "25 speakers, target sets alone of their own, a loss of 10 %": World(loss=0.1, potent=0.1),
    "25 speakers, a loss of 15 %": World(loss=0.15),
    "10 speakers in 5 sessions, 4 emotions, a loss of 15 %": World(
        speakers=10, sessions=5, emotions=4, clips=12, loss=0.15
    ),
}
RUNS, LARGE = 8, {"speakers": 60, "draws": 30}


FIVE = ((7, 0.15), (4, 0.15), (7, 0.3))
"""Emotions, and the relative loss; half as much is gained when amplified by 1."""


def five(studies: int) -> None:
    """Print how often each claim is supported with five speakers, 12 clips of each emotion."""
    for emotions, loss in FIVE:
        world = World(emotions=emotions, speakers=5, clips=12, loss=loss, gain=loss / 2)
        found = [judged(world, f"five {emotions} {loss}", study) for study in range(studies)]
        shares = {claim: 100 * np.mean([row[claim] == "supported" for row in found]) for claim in found[0]}
        told = ", ".join(f"{claim} {share:.1f} %" for claim, share in shares.items())
        print(f"{emotions} emotions, a loss of {100 * loss:.0f} %: {told}", flush=True)


def main() -> None:
    """Print a row a point."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--studies", type=int, default=600)
    parser.add_argument("--only", default="", help="points whose name holds this")
    parser.add_argument("--five", action="store_true", help="what five speakers can decide")
    asked = parser.parse_args()
    if asked.five:
        five(asked.studies)
        return
    print("| studies | claim | `emoscope power` | supported |\n|---|---|---|---|")
    for name, world in POINTS.items():
        if asked.only not in name:
            continue
        world = replace(world, alphas=(0.5,))
        large = replace(world, **LARGE, sessions=30 if world.sessions else 0)
        seen = [answer_table(simulate(large, np.random.default_rng(run)).to_frame()) for run in range(RUNS)]
        found = [judged(world, name, study) for study in range(asked.studies)]
        units, shared = (world.sessions or world.speakers), world.speakers / (world.sessions or world.speakers)
        for claim in ("exists", "disproportionate"):
            spreads = [replace(spread_of(run, claim), draws=world.draws) for run in seen]
            expected = [power(100 * world.loss, spread, units, world.clips * shared) for spread in spreads]
            share = 100 * np.mean([row[claim] == "supported" for row in found])
            ends = f"{min(expected):.0f} to {max(expected):.0f}"
            print(f"| {name} | {claim} | {np.mean(expected):.1f} % ({ends}) | {share:.1f} % |", flush=True)


if __name__ == "__main__":
    main()
