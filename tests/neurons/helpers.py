"""Small activity stores made of random numbers."""

from __future__ import annotations

import numpy as np

from emoscope.neurons.activity import Activity, ActivityBlock


def random_block(rng: np.random.Generator, items: int, layers: int, width: int, high: int = 12) -> ActivityBlock:
    """A block in which counts never exceed the positions and about a third of the values is above zero."""
    tokens = np.stack([rng.integers(2, high, items), rng.integers(2, high, items), np.ones(items), np.ones(items)], 1)
    shape = (items, layers, width)
    spans = {"audio": 0, "text": 1}
    return ActivityBlock(
        counts={s: rng.integers(0, tokens[:, c, None, None] + 1, shape).astype("uint16") for s, c in spans.items()},
        means={s: rng.normal(-0.1, 0.3, shape).astype("float16") for s in spans},
        values={s: rng.normal(-0.1, 0.3, shape).astype("float16") for s in ("decision", "answer")},
        tokens=tokens.astype("int32"),
        abs_sum=rng.random((layers, width)).astype("float32") * items,
        product_sum=rng.normal(size=(layers, width)).astype("float32") * items,
        positions=int(tokens[:, :3].sum()),
    )


def random_activity(
    path, items=40, layers=3, width=5, block_items=32, seed=0, **options
) -> tuple[Activity, list[ActivityBlock]]:
    """A written store, and the blocks it was written from."""
    rng = np.random.default_rng(seed)
    activity = Activity.create(path, items, layers, width, rng.random((layers, width)) + 0.5, block_items, **options)
    starts = range(0, items, activity.block_items)
    blocks = [random_block(rng, min(activity.block_items, items - start), layers, width) for start in starts]
    for start, block in zip(starts, blocks, strict=True):
        activity.write(start, block)
    return activity, blocks


def activity_of_counts(path, fired, positions, means=None) -> Activity:
    """A store of one layer: at how many audio positions each neuron fires, (item, neuron), of how many, (item,)."""
    fired, positions = np.asarray(fired), np.asarray(positions)
    items, width = fired.shape
    activity = Activity.create(path, items, 1, width, np.ones((1, width)), 32)
    block = random_block(np.random.default_rng(0), items, 1, width)
    block.counts["audio"][:, 0] = fired
    block.means["audio"][:, 0] = fired / positions[:, None] if means is None else means
    block.tokens[:, 0] = positions
    activity.write(0, block)
    return activity


def both(activity: Activity, layer: int, scope: str, items: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Firing counts and activation sums; each float64 (item, width)."""
    return activity.read_counts(layer, scope, items), activity.read_sums(layer, scope, items)
