"""How long selecting neurons takes at the size of a 7B model, and how much memory.

Makes a store of random but plausible activity in a temporary folder, then measures, each in a process of
its own: the selectors from per-emotion sums, ten matched controls for each emotion and five folds, and
200 re-selections (folds, sizes, draws) by each selector from the stored items. Beside the seconds on the
clock stand those of the processor, which other work on the machine does not lengthen.

    python studies/benchmarks/selection.py            # 28 layers x 18,944 neurons, 7 emotions, 400 items
    python studies/benchmarks/selection.py --quick    # a small store, in seconds
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np

from emoscope.neurons.activity import Activity, ActivityBlock
from emoscope.neurons.controls import Matcher, seeded_generator
from emoscope.neurons.ranking import Job, SelectionPlan, rank_streaming, select_from_sums
from emoscope.neurons.samples import Selection
from emoscope.neurons.selectors import SELECTORS

SCOPE = "audio+answer"
BUDGET = 0.005


@dataclass(frozen=True)
class Size:
    """What is measured. The defaults are Qwen2.5-7B's decoder, seven emotions and 400 correct items."""

    layers: int = 28
    width: int = 18944
    emotions: int = 7
    items: int = 400
    selections: int = 200


QUICK = Size(layers=4, width=2048, emotions=7, items=140, selections=20)


def make_store(folder: Path, size: Size) -> Activity:
    """Write activity in which a tenth of the neurons fires more often for one emotion, block by block."""
    rng = np.random.default_rng(0)
    shape = (size.layers, size.width)
    base = rng.beta(0.8, 1.6, shape).astype("float32")
    liked = np.where(rng.random(shape) < 0.1, rng.integers(0, size.emotions, shape), -1)
    noise = rng.standard_normal(4_000_037, dtype="float32")  # one pool, read from random places: drawing all is slow
    activity = Activity.create(
        folder / "activity.zarr", size.items, *shape, 0.5 + rng.random(shape), 32, store=("audio", "answer")
    )
    for start in range(0, size.items, 32):
        count = min(32, size.items - start)
        tokens = np.stack([rng.integers(60, 300, count), np.full(count, 40), np.ones(count), np.ones(count)], 1)
        counts, means = np.empty((count, *shape), "uint16"), np.empty((count, *shape), "float16")
        values = np.empty((count, *shape), "float16")
        for item in range(count):
            emotion, length = (start + item) % size.emotions, float(tokens[item, 0])
            rate = np.clip(base + 0.1 * (liked == emotion), 0.0, 1.0)
            places = rng.integers(0, len(noise) - size.width, size.layers)
            luck = np.stack([noise[place : place + size.width] for place in places])
            counts[item] = np.clip(np.rint(length * rate + np.sqrt(length * rate * (1 - rate)) * luck), 0, length)
            means[item] = 0.3 * rate - 0.12 + 0.02 * luck
            values[item] = rate - 0.5 + 0.3 * luck
        magnitude = np.abs(means).sum(axis=0, dtype="float32")
        activity.write(
            start,
            ActivityBlock(
                {"audio": counts}, {"audio": means}, {"answer": values}, tokens.astype("int32"), magnitude, magnitude,
                positions=int(tokens[:, :3].sum()),
            ),
        )  # fmt: skip
    return activity


def make_plan(size: Size, activity: Activity) -> SelectionPlan:
    """Re-selections over five folds, four sizes and as many draws as it takes, with equal items per emotion."""
    emotions = np.arange(size.items) % size.emotions
    folds = np.arange(size.items) // size.emotions % 5
    smallest = int(np.bincount(emotions).min()) * 4 // 5
    selections = []
    for number in range(size.selections):
        rng = np.random.default_rng(number)
        wanted = max(1, smallest * (1 + number // 5 % 4) // 4)
        outside = [np.flatnonzero((emotions == e) & (folds != number % 5)) for e in range(size.emotions)]
        picked = np.concatenate([rng.permutation(group)[:wanted] for group in outside])
        names = tuple(f"emotion {e}" for e in range(size.emotions))
        selections.append(Selection(number, picked, emotions[picked], names))
    return SelectionPlan(activity, selections, SCOPE)


def measure_sums(size: Size) -> dict[str, float]:
    """Seconds of each selector from per-emotion sums that lie in memory."""
    rng = np.random.default_rng(0)
    neurons, tokens = size.layers * size.width, rng.integers(9000, 12000, size.emotions)
    fired = rng.binomial(tokens[:, None], rng.beta(0.8, 1.6, neurons)).astype("float64")
    summed = tokens[:, None] * rng.normal(-0.02, 0.1, (size.emotions, neurons))
    variance = rng.gamma(2.0, 0.01, neurons)
    seconds, busy = {}, 0.0
    for name in SELECTORS:
        start, begun = time.perf_counter(), time.process_time()
        select_from_sums(fired, tokens, summed, name, round(BUDGET * neurons), variance=variance)
        seconds[name] = time.perf_counter() - start
        busy += time.process_time() - begun
    return {**seconds, "processor": busy}


def measure_matched(size: Size) -> dict[str, float]:
    """Seconds of ten matched controls for each emotion's set, in five folds, for sets that fire often."""
    rng = np.random.default_rng(0)
    points, chosen = rng.standard_normal((size.layers, size.width, 3)), round(BUDGET * size.layers * size.width)
    often = points[..., 0].ravel()
    start = time.perf_counter()
    for fold in range(5):
        scores = [often + 2 * rng.standard_normal(often.size) for _ in range(size.emotions)]
        sets = [np.sort(np.argpartition(-score, chosen)[:chosen]) for score in scores]
        matcher = Matcher(points, np.unique(np.concatenate(sets)))
        for draw in range(10):
            for emotion, neurons in enumerate(sets):
                matcher.draw(neurons, seeded_generator(fold, draw, emotion))
    return {"seconds": time.perf_counter() - start}


def measure_streaming(size: Size, store: Path, selector: str) -> dict[str, float]:
    """Seconds of all re-selections by one selector from the store."""
    wanted = round(BUDGET * size.layers * size.width)
    start = time.perf_counter()
    plan = make_plan(size, Activity.open(store))
    jobs = [Job(one.key, selector, wanted) for one in plan.selections]
    found = rank_streaming(plan, jobs)
    seconds = time.perf_counter() - start
    assert all(len(chosen) <= wanted for lists in found.values() for chosen in lists.take(wanted))
    return {"seconds": seconds}


def in_process(size: Size, task: str, store: Path) -> dict[str, float]:
    """Run one measurement in a process of its own, so that its peak memory is its own too."""
    command = [sys.executable, __file__, "--task", task, "--store", str(store)]
    command += [part for field in fields(size) for part in (f"--{field.name}", str(getattr(size, field.name)))]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


def show(what: str, result: dict[str, float]) -> None:
    """Print one measurement."""
    print(
        f"{what}: {result['seconds']:.2f} s ({result['processor']:.2f} s of processor time), "
        f"peak {result['peak_gb']:.2f} GB",
        flush=True,
    )


def main() -> None:
    """Read the command line, make the store, measure, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a small store, in seconds")
    parser.add_argument("--folder", type=Path, help="where to put the store (default: a temporary folder)")
    parser.add_argument("--selectors", nargs="*", default=list(SELECTORS), help="which to measure")
    for field in fields(Size):
        parser.add_argument(f"--{field.name}", type=int)
    parser.add_argument("--task", help=argparse.SUPPRESS)
    parser.add_argument("--store", type=Path, help=argparse.SUPPRESS)
    given = parser.parse_args()
    base = QUICK if given.quick else Size()
    size = Size(**{f.name: getattr(given, f.name) or getattr(base, f.name) for f in fields(Size)})
    if given.task:
        tasks = {"sums": measure_sums, "matched": measure_matched}
        begun = time.process_time()
        result = tasks[given.task](size) if given.task in tasks else measure_streaming(size, given.store, given.task)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e9
        print(json.dumps({"processor": time.process_time() - begun, **result, "peak_gb": peak}))
        return

    print(f"{size}, {os.cpu_count()} cores, OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'unset')}", flush=True)
    sums = in_process(size, "sums", Path("-"))
    peak, busy = sums.pop("peak_gb"), sums.pop("processor")
    listed = ", ".join(f"{name} {seconds:.3f} s" for name, seconds in sums.items())
    together = {"seconds": sum(sums.values()), "processor": busy, "peak_gb": peak}
    show(f"from per-emotion sums: {listed}; together", together)
    show("10 matched controls x emotions x 5 folds", in_process(size, "matched", Path("-")))
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        start = time.perf_counter()
        store = make_store(Path(folder), size).path
        disk = sum(path.stat().st_size for path in store.rglob("*") if path.is_file()) / 1e9
        print(f"store made in {time.perf_counter() - start:.0f} s, {disk:.2f} GB on disk", flush=True)
        for name in given.selectors:
            show(f"{size.selections} re-selections by {name}", in_process(size, name, store))


if __name__ == "__main__":
    main()
