"""How often each declared claim is called supported in studies of known truth: ``python -m emoscope.testing.calibration``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from emoscope.analysis import declared
from emoscope.analysis.declared import CLAIMS, SUPPORTED
from emoscope.neurons.controls import seeded_generator
from emoscope.testing.set_worlds import claims
from emoscope.testing.worlds import FEW, Answers, World, simulate, star

ALPHA = 0.5  # the declared strength in simulated studies
BLOCK = 50  # studies that one task simulates
MOST, LIMIT = 0.05, 0.075
"""A false claim may be called supported in at most this share: the lower and the upper 99 % limit."""


@dataclass(frozen=True)
class Cell:
    """How often a claim was called supported in studies of one world."""

    world: str
    claim: str
    true: bool
    studies: int
    supported: int
    testable: int

    @property
    def share(self) -> float:
        """Between 0 and 1."""
        return self.supported / self.studies

    def limits(self, level: float = 0.99) -> tuple[float, float]:
        """The exact limits of the share (Clopper and Pearson 1934).

        Example:
            >>> tuple(round(x, 4) for x in Cell("w", "exists", False, 2000, 50, 2000).limits())
            (0.0169, 0.0354)
        """
        from scipy.special import betaincinv

        hits, tail = self.supported, (1 - level) / 2
        low = 0.0 if hits == 0 else float(betaincinv(hits, self.studies - hits + 1, tail))
        high = 1.0 if hits == self.studies else float(betaincinv(hits + 1, self.studies - hits, 1 - tail))
        return low, high

    @property
    def holds(self) -> bool:
        """Whether a false claim is called supported seldom enough."""
        low, high = self.limits()
        return self.true or (low <= MOST and high <= LIMIT)


def judged(world: World, name: str, study: int) -> dict[str, str]:
    """The verdicts of one simulated study by claim; the same for the same name and number."""
    answers = simulate(world, seeded_generator("world", name, study))

    def verdicts(alphas: Sequence[float]) -> dict[str, str]:
        amplified = {alpha: answers.amplified[alpha] for alpha in alphas}
        evidence = declared.gather(
            answers.clips, answers.untouched, answers.off, amplified, range(world.emotions), ALPHA
        )
        return {claim: test.verdict for claim, test in declared.judge(evidence, onward=False).items()}

    found = verdicts([ALPHA])
    # other strengths only tell whether a pull that is there grows
    return verdicts(world.alphas) if found["steers"] == SUPPORTED else found


def _block(world: World, name: str, first: int, count: int) -> list[dict[str, str]]:
    return [judged(world, name, study) for study in range(first, first + count)]


def calibrate(worlds: Mapping[str, World], studies: int, jobs: int = 1) -> Iterator[tuple[str, list[Cell], float]]:
    """For each world its cells, and the share of studies with any false claim."""
    with ProcessPoolExecutor(jobs) as pool:
        for name, world in worlds.items():
            truths = world.truths()
            # where nothing is false, shares near 100 % need no more
            wanted = max(1, studies // 4) if all(truths.values()) else studies
            firsts = range(0, wanted, BLOCK)
            counts = [min(BLOCK, wanted - first) for first in firsts]
            found = [each for block in pool.map(partial(_block, world, name), firsts, counts) for each in block]
            cells = [_cell(name, claim.name, truths[claim.name], found) for claim in CLAIMS]
            wrong = [any(row[claim] == SUPPORTED for claim, true in truths.items() if not true) for row in found]
            yield name, cells, float(np.mean(wrong))


def _cell(world: str, claim: str, true: bool, found: Sequence[Mapping[str, str]]) -> Cell:
    verdicts = [row[claim] for row in found]
    return Cell(
        world, claim, true, len(found), verdicts.count(SUPPORTED), len(found) - verdicts.count(declared.UNTESTED)
    )


@dataclass(frozen=True)
class Coverage:
    """How often both intervals of *exists* hold what they are about, in %, and how much the choice of sets costs."""

    world: str
    these_sets: float
    such_sets: float
    efficiency: float  # mean squared error with sets as given, over that with their spread


def covered(world: World, name: str, study: int) -> tuple[bool, bool, float]:
    """Whether each interval of one study holds its own target, and the ratio of its squared errors."""
    answers = simulate(world, seeded_generator("coverage", name, study))
    evidence = declared.gather(answers.clips, answers.untouched, answers.off, {}, range(world.emotions), None)
    assert evidence.off is not None
    found = declared.beyond_names(evidence.off, evidence.sizes, declared.apart_by_name)
    test = found.test("exists")
    targets = [_true_value(answers, true, evidence) for true in (answers.expected, answers.of_kind)]
    ends = ((test.set_low, test.set_high), (test.low, test.high))
    inside = [
        low is not None and high is not None and low <= target <= high
        for target, (low, high) in zip(targets, ends, strict=True)
    ]
    return inside[0], inside[1], float(found.set_variance[0] / found.error[0] ** 2)


def _true_value(answers: Answers, true: np.ndarray, evidence: declared.Evidence) -> float:
    changes = [
        declared.PairChange(range(answers.clips.options), each[None], evidence.untouched, evidence.testable)
        for each in true
    ]
    own, *draws = (float(declared.apart(change)[0]) for change in changes)
    return own - float(np.mean(draws))


def coverage(worlds: Mapping[str, World], studies: int, jobs: int = 1) -> Iterator[Coverage]:
    """Of each world whose expected changes are known."""
    with ProcessPoolExecutor(jobs) as pool:
        for name, world in worlds.items():
            if not world.product:
                rows = list(pool.map(partial(covered, world, name), range(studies), chunksize=BLOCK))
                these, such, ratio = np.mean(rows, axis=0)
                yield Coverage(name, 100 * these, 100 * such, ratio)


def _verdicts(claim: str, world: str, study: int) -> list[str]:
    return claims()[claim, world][1](seeded_generator("sets", claim, world, study))


def of_sets(studies: int, jobs: int = 1, only: str = "") -> Iterator[Cell]:
    """Each claim about sets in each of its worlds.

    Of several verdicts in a study one "supported" counts where the claim is false, and each by itself where it is true.
    """
    with ProcessPoolExecutor(jobs) as pool:
        for (claim, world), (true, _) in claims().items():
            if only in f"{claim}: {world}":
                wanted = range(max(1, studies // 4) if true else studies)
                found = list(pool.map(partial(_verdicts, claim, world), wanted, chunksize=BLOCK // 5))
                counted = [[each] for one in found for each in one] if true else found
                hits = sum(SUPPORTED in one for one in counted)
                testable = sum(set(one) != {declared.UNTESTED} for one in counted)
                yield Cell(world, claim, true, len(counted), hits, testable)


PERMUTED = 59  # draws of permuted labels in a study: p is at least 1 / 60


def null_worlds() -> dict[str, World]:
    """Studies with a real loss in which permuted labels are drawn, too."""
    usual = {"25 speakers, 7 emotions": World(), "10 speakers in 5 sessions, 4 emotions": FEW}
    kept = {"": World(), ", twice as much kept": World(kept=(0.5, 0.2), kept_of_others=(0.24, 0.14))}
    return {
        f"{design}, a loss of {100 * loss:g} %{name}": replace(
            world, loss=loss, permuted=PERMUTED, kept=like.kept, kept_of_others=like.kept_of_others, alphas=()
        )
        for design, world in usual.items() for loss in (0.15, 0.05, 0.02) for name, like in kept.items()
    }  # fmt: skip


def with_null(world: World, name: str, study: int) -> tuple[bool, bool, int]:
    """Whether *exists* holds in one study without and with the permutation null, and how many draws take as much."""
    answers = simulate(world, seeded_generator("permuted", name, study))
    judged = [
        declared.judge(declared.gather(
            answers.clips, answers.untouched, answers.off, {}, range(world.emotions), None, {None: permuted}
        ), onward=False)["exists"]
        for permuted in ((), answers.permuted)
    ]  # fmt: skip
    p = judged[1].permutation_p or 0.0
    return judged[0].verdict == SUPPORTED, judged[1].verdict == SUPPORTED, round(p * (1 + world.permuted)) - 1


def _print_null(studies: int, jobs: int, only: str) -> None:
    print("| world | without, % | with, % | draws that take as much, mean |\n|---|---|---|---|")
    with ProcessPoolExecutor(jobs) as pool:
        for name, world in null_worlds().items():
            if only in name:
                rows = list(pool.map(partial(with_null, world, name), range(studies), chunksize=BLOCK // 5))
                without, held, below = np.mean(rows, axis=0)
                print(f"| {name} | {100 * without:.1f} | {100 * held:.1f} | {below:.2f} |", flush=True)


def _print_sets(studies: int, jobs: int, only: str) -> list[Cell]:
    print("| claim | world | true | supported, % | 99 % limits | not testable, % |\n|---|---|---|---|---|---|")
    every = []
    for cell in of_sets(studies, jobs, only):
        low, high = (100 * end for end in cell.limits())
        bold, left = "" if cell.true else "**", 100 * (1 - cell.testable / cell.studies)
        row = f"{'yes' if cell.true else 'no'} | {bold}{100 * cell.share:.1f}{bold} | {low:.1f} to {high:.1f} | {left:.1f}"
        print(f"| {cell.claim} | {cell.world} | {row} |", flush=True)
        every.append(cell)
    return every


def _print_declared(worlds: Mapping[str, World], studies: int, jobs: int) -> list[Cell]:
    names = [claim.name for claim in CLAIMS]
    print(f"| world | {' | '.join(names)} | any false |\n|---|{'---|' * (len(names) + 1)}")
    every: list[Cell] = []
    for _, cells, wrong in calibrate(worlds, studies, jobs):
        every += cells
        shares = [f"{'' if cell.true else '**'}{100 * cell.share:.1f}{'' if cell.true else '**'}" for cell in cells]
        print(f"| {cells[0].world} | {' | '.join(shares)} | {100 * wrong:.1f} |", flush=True)
    return every


def main(argv: Sequence[str] | None = None) -> int:
    """Print a row a world; exit code 1 where a false claim is called supported too often."""
    parser = argparse.ArgumentParser(prog="python -m emoscope.testing.calibration", description=__doc__)
    parser.add_argument(
        "--studies", type=int, default=2000, help="of each world; a quarter of it where every claim is true"
    )
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--only", default="", help="worlds whose name (of sets also the claim) holds this")
    parser.add_argument("--out", type=Path, help="a JSON file for the counts")
    parser.add_argument("--coverage", action="store_true", help="how often intervals hold what they are about, instead")
    parser.add_argument(
        "--sets", action="store_true", help="the claims that sets crowd, transfer or need few clips, instead"
    )
    parser.add_argument(
        "--permuted", action="store_true", help="what the permutation null costs where a loss is real, instead"
    )
    asked = parser.parse_args(argv)
    if asked.permuted:
        _print_null(asked.studies, asked.jobs, asked.only)
        return 0
    worlds = {name: world for name, world in star().items() if asked.only in name}
    if asked.coverage:
        print("| world | these sets, % | such sets, % | efficiency |\n|---|---|---|---|")
        for each in coverage(worlds, asked.studies, asked.jobs):
            row = f"{each.these_sets:.1f} | {each.such_sets:.1f} | {each.efficiency:.2f}"
            print(f"| {each.world} | {row} |", flush=True)
        return 0
    if asked.sets:
        every = _print_sets(asked.studies, asked.jobs, asked.only)
    else:
        every = _print_declared(worlds, asked.studies, asked.jobs)
    if asked.out:
        asked.out.write_text(json.dumps([vars(cell) for cell in every], indent=1), encoding="utf-8")
    wrong_cells = [cell for cell in every if not cell.holds]
    for cell in wrong_cells:
        low, high = cell.limits()
        print(
            f"\n{cell.world}: {cell.claim} {100 * cell.share:.1f} % (99 % limits {100 * low:.1f} to {100 * high:.1f})"
        )
    return 1 if wrong_cells else 0


if __name__ == "__main__":
    raise SystemExit(main())
