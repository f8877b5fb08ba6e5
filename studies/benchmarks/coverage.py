"""How often the jackknife's nominal 95 % intervals cover the true value, measured on simulated studies.

Every study has speakers of unequal (or equal) size and three emotions. Speakers differ in how readily they
sound like each emotion, and in how strongly an intervention acts on them. Answers and log-odds go through the
same code as a run's. The true value is the mean estimate over all studies.

    python studies/benchmarks/coverage.py
"""

from __future__ import annotations

import argparse
import time

import numpy as np
from scipy.special import ndtri, stdtrit

from emoscope.analysis.contrasts import Changes, measures
from emoscope.analysis.estimate import effective_number
from emoscope.analysis.responses import Responses, log_odds

EMOTIONS = ("anger", "fear", "neutral")
MEASURES = {"gap": "points", "sensitivity": "AUC points", "bias": "nat"}
SMALLEST, LARGEST, EQUAL = 6, 30, 15
"""Items per emotion of the speakers with the fewest and the most items, and of all where they are equal."""
BONUS, SPEAKERS_SD, STRENGTH, STRENGTH_SD = 2.0, 0.5, 1.0, 0.5
"""Nat: what an item's emotion scores more, spread of speakers, mean effect and its spread over speakers."""


def sizes_of(speakers: int, equal: bool) -> np.ndarray:
    """Items per speaker and emotion."""
    if equal:
        return np.full(speakers, EQUAL)
    return np.round(np.geomspace(SMALLEST, LARGEST, speakers)).astype(int)


def simulate(rng: np.random.Generator, sizes: np.ndarray) -> Responses:
    """One study: scores with Gumbel noise (a multinomial logit); a set takes from its emotion's items and from all."""
    count = len(EMOTIONS)
    speaker = np.repeat(np.repeat(np.arange(len(sizes)), sizes), count)
    truth = np.tile(np.arange(count), int(sizes.sum()))
    own = truth[:, np.newaxis] == np.arange(count)
    voices = SPEAKERS_SD * rng.normal(size=(len(sizes), count))
    scores = [rng.gumbel(size=own.shape) + BONUS * own + voices[speaker]]
    strength = STRENGTH + STRENGTH_SD * rng.normal(size=(len(sizes), count))
    for m in range(count):
        after = scores[0].copy()
        after[:, m] -= strength[speaker, m] * (0.5 + own[:, m])
        scores.append(after)
    stacked = np.stack(scores)
    rows = {"baseline": 0} | {emotion: m + 1 for m, emotion in enumerate(EMOTIONS)}
    return Responses(
        labels=EMOTIONS, items=np.arange(len(truth)), truth=truth, speaker=speaker,
        speakers=tuple(f"s{g:02d}" for g in range(len(sizes))), unknown_speakers=0, chance=100 / count, rows=rows,
        answers=stacked.argmax(axis=2), log_odds=log_odds(stacked),
    )  # fmt: skip


def coverage(speakers: int, equal: bool, studies: int, seed: int = 0) -> list[tuple[str, ...]]:
    """Rows of the table: for each measure the true value, coverage with t(G_eff - 1) and with the normal, mean width."""
    rng, sizes = np.random.default_rng([seed, speakers, equal]), sizes_of(speakers, equal)
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in MEASURES}
    for _ in range(studies):
        responses = simulate(rng, sizes)
        change = Changes(responses).count({e: e for e in EMOTIONS}, EMOTIONS, np.ones(len(responses.items), dtype=bool))
        every = measures(change)
        for name in MEASURES:
            one = every[name].interval()
            if one.estimate is None or one.high is None:
                raise RuntimeError(f"a simulated study has no interval: {one.reason}")
            found[name].append((one.estimate, one.high - one.estimate))
    df = effective_number(sizes) - 1
    rows = []
    for name, unit in MEASURES.items():
        estimate, half = np.array(found[name]).T
        miss = np.abs(estimate - estimate.mean())
        normal = half * ndtri(0.975) / stdtrit(df, 0.975)
        about = (f"{speakers}", "equal" if equal else "unequal", f"{df + 1:.1f}", name)
        share = [f"{100 * np.mean(miss <= limit):.1f}" for limit in (half, normal)]
        rows.append((*about, f"{estimate.mean():.2f} {unit}", *share, f"{2 * half.mean():.2f}"))
    return rows


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--studies", type=int, default=4000, help="simulated studies a row")
    studies, start = parser.parse_args().studies, time.perf_counter()
    print("| speakers | items | G_eff | measure | true value | coverage, % | with 1.96 instead of t, % | mean width |")
    print("|---|---|---|---|---|---|---|---|")
    for equal in (False, True):
        for speakers in (5, 10, 24):
            for row in coverage(speakers, equal, studies):
                print("| " + " | ".join(row) + " |", flush=True)
    print(f"\n{studies} studies a row, {time.perf_counter() - start:.0f} s")


if __name__ == "__main__":
    main()
