"""Time turning interventions on a 7B-sized model into gains for 64 rows, as a share of writing the same numbers once.

Run with: python studies/benchmarks/gains.py
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from emoscope.interventions.intervention import gains_for
from emoscope.interventions.kinds import deactivate
from emoscope.models.values import ModelInfo

LAYERS, WIDTH, ROWS, SIZE = 28, 18_944, 64, 2652
"""Audio Flamingo 3's decoder, a batch, and a set of 0.5 % of the neurons."""


def seconds(work: Callable[[], Any]) -> float:
    """The shortest of three times."""
    times = []
    for _ in range(3):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return min(times)


def main() -> None:
    """Print the times and their ratios."""
    info = ModelInfo("m", "f", None, "", LAYERS, WIDTH, 3584, 151_672, True, "left", "float32", "cpu")
    draw = np.random.default_rng(0)
    sets = [deactivate(draw.choice(LAYERS * WIDTH, SIZE, replace=False)) for _ in range(5)]
    every = deactivate(np.arange(LAYERS * WIDTH), to="mean", means=np.ones((LAYERS, WIDTH), np.float32))
    dense = seconds(lambda: torch.ones(ROWS, LAYERS, WIDTH))
    for name, work in (
        ("five sets in turn", lambda: gains_for(info, [sets[row % 5] for row in range(ROWS)])),
        ("all neurons to their mean", lambda: every.gains(info, ROWS)),
    ):
        took = seconds(work)
        print(
            f"{name}: {took:.3f} s, {took / dense:.2f} of writing {ROWS} x {LAYERS} x {WIDTH} numbers ({dense:.3f} s)"
        )


if __name__ == "__main__":
    main()
