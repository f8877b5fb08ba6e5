"""Which clips identify neurons: answered correctly, outside the fold, equally many per emotion."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import polars as pl

from emoscope.neurons.set_spec import ALL, SetSpec


class NotIdentifiable(ValueError):
    """Fewer than two emotions have enough correct clips.

    Attributes:
        counts: for each emotion the fewest correct clips outside any fold.
    """

    def __init__(self, counts: Mapping[str, int], minimum: int) -> None:
        self.counts = dict(counts)
        listed = ", ".join(f"{emotion} {count}" for emotion, count in self.counts.items())
        super().__init__(
            f"fewer than two emotions have {minimum} correctly answered clips outside every fold ({listed}): "
            "neurons can only be found for emotions that the model recognises; add clips or lower `minimum`"
        )


@dataclass(frozen=True)
class IdentificationClip:
    """A clip with the row numbers of its correctly answered items."""

    name: str
    emotion: str
    speaker: str | None
    fold: str | None
    items: tuple[int, ...]


@dataclass(frozen=True)
class Sample:
    """The identification clips of one fold, ``n`` per emotion."""

    fold: str
    clips: tuple[IdentificationClip, ...]
    n: int


def draw_samples(items: pl.DataFrame, spec: SetSpec) -> tuple[list[Sample], dict[str, int | str]]:
    """Draw the identification clips of every fold, and of all folds together.

    Clips are taken in an order that a hash of seed and clip name decides, so that the row order does not
    matter and a smaller sample is part of a larger one.

    Args:
        items: as :func:`~emoscope.neurons.selection.find_sets` takes them.
        spec: emotions, the cap per emotion and the minimum.

    Returns:
        (samples, identifiable): one sample per fold, that of all clips last; and for each emotion how many
        clips that last sample has of it, or why it has none.

    Raises:
        NotIdentifiable: fewer than two emotions reach the minimum outside every fold.

    Example:
        >>> items = pl.DataFrame({
        ...     "item": range(8), "clip": [f"c{i}" for i in range(8)], "speaker": list("ssssttuu"),
        ...     "fold": list("ssssttuu"), "truth": ["anger", "fear"] * 4, "correct": [True] * 8, "fate": ["used"] * 8,
        ... })
        >>> samples, identifiable = draw_samples(items, SetSpec(("anger", "fear"), minimum=2))
        >>> [(one.fold, one.n) for one in samples], identifiable
        ([('s', 2), ('t', 3), ('u', 3), ('all', 4)], {'anger': 4, 'fear': 4})
    """
    used = items.filter(pl.col("fate") == "used")
    if "side" not in used.columns:
        used = used.with_columns(side=pl.lit("both"))
    fixed = "both" not in used["side"].to_list()
    evaluated = used.filter(pl.col("side").is_in(["both", "evaluate"]))
    folds = [*evaluated["fold"].drop_nulls().unique().sort().to_list(), ALL]
    clips = sorted(_clips(used, spec), key=lambda clip: _place(spec.seed, clip.name))
    outside = {fold: [clip for clip in clips if fixed or fold == ALL or clip.fold != fold] for fold in folds}
    counts = {
        emotion: min(sum(clip.emotion == emotion for clip in pool) for pool in outside.values())
        for emotion in spec.emotions
    }
    emotions = [emotion for emotion, count in counts.items() if count >= max(1, spec.minimum)]
    if len(emotions) < 2:
        raise NotIdentifiable(counts, spec.minimum)
    samples = []
    for fold, pool in outside.items():
        groups = [[clip for clip in pool if clip.emotion == emotion] for emotion in emotions]
        n = min(spec.items_per_emotion, *map(len, groups))
        samples.append(Sample(fold, tuple(clip for group in groups for clip in group[:n]), n))
    reached = samples[-1].n
    return samples, {
        emotion: reached if emotion in emotions else f"not identifiable ({count} correct)"
        for emotion, count in counts.items()
    }


def fewer_clips(samples: Sequence[Sample], spec: SetSpec) -> list[tuple[int, Sample]]:
    """Draw smaller samples from those of all folds: ``spec.size_draws`` draws of each of ``spec.sizes``.

    In each draw clips are taken in an order that a hash of seed, draw and clip name decides, so that a smaller
    sample is part of a larger one of the same draw, and a clip that is in reach of two folds is drawn in both.
    A size that some fold does not have, or that is no smaller than what every fold has, is left out.

    Args:
        samples: from :func:`draw_samples`.
        spec: sizes, draws and seed.

    Returns:
        (draw, sample) for every size, draw and fold.
    """
    fewest, most = min(one.n for one in samples), max(one.n for one in samples)
    sizes = sorted({size for size in spec.sizes if size <= fewest and size < most})
    found = []
    for draw in range(spec.size_draws):
        for sample in samples:
            order = sorted(sample.clips, key=lambda clip: _place(f"{spec.seed}\x1fdraw {draw}", clip.name))
            groups = [[clip for clip in order if clip.emotion == emotion] for emotion in spec.emotions]
            for size in sizes:
                clips = tuple(clip for group in groups for clip in group[:size])
                found.append((draw, Sample(sample.fold, clips, size)))
    return found


def _clips(used: pl.DataFrame, spec: SetSpec) -> Iterator[IdentificationClip]:
    """The clips that may identify, each with its correctly answered items."""
    right = used.filter(
        pl.col("correct").fill_null(False)
        & pl.col("truth").is_in(list(spec.emotions))
        & pl.col("side").is_in(["both", "identify"])
    )
    grouped = right.group_by("clip").agg(pl.col("truth", "speaker", "fold").first(), "item")
    for row in grouped.iter_rows(named=True):
        yield IdentificationClip(row["clip"], row["truth"], row["speaker"], row["fold"], tuple(row["item"]))


def _place(seed: int | str, clip: str) -> tuple[str, str]:
    return hashlib.sha256(f"{seed}\x1f{clip}".encode()).hexdigest(), clip
