"""Which clips identify neurons: of one outcome, outside the fold, equally many per emotion.

A hit of an emotion has it in the voice and in the answer; a miss has it in the voice alone, a false alarm in the answer
alone. Sets from misses and from false alarms tell whether neurons follow what is heard, or what is answered.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain

import numpy as np
import polars as pl

from emoscope.neurons.controls import Control, seeded_generator
from emoscope.neurons.jobs import ALL, SetSpec
from emoscope.vocabulary import OUTCOMES, USED, Outcome, Side

MOST_TRIES = 100
"""Draws of other names for clips until every fold has clips of every name: hardly more than one but with few clips."""

Notes = dict[str, dict[str, int | str]]  # outcome -> emotion -> clips per emotion, or why there is no set


class NotIdentifiable(ValueError):
    """Fewer than two emotions have enough correct clips; ``counts`` are the fewest outside any fold."""

    def __init__(self, counts: Mapping[str, int], minimum: int) -> None:
        self.counts, self.minimum = dict(counts), minimum
        listed = ", ".join(f"{emotion} {count}" for emotion, count in self.counts.items())
        super().__init__(
            f"fewer than two emotions have {minimum} correctly answered clips outside every fold ({listed}): "
            "neurons can only be found for emotions that the model recognises"
        )


@dataclass(frozen=True)
class IdentificationClip:
    """A clip with the row numbers of the items that identify: those answered correctly, in samples of hits.

    ``letters`` says behind which letter (0 = A) each of these items shows the option ``emotion``; empty where the
    items table has no options.
    """

    name: str
    emotion: str
    speaker: str | None
    fold: str | None
    items: tuple[int, ...]
    letters: tuple[int, ...] = ()
    block: str | None = None  # the smallest independent unit that it was recorded in


@dataclass(frozen=True)
class Selection:
    """The items on which one group of neuron sets is fitted: one fold, size, draw or shuffle of labels."""

    key: Hashable  # names the selection in results
    items: np.ndarray  # row numbers of the items; int64 (item,)
    labels: np.ndarray  # the number of each item's emotion in ``emotions``; int64 (item,)
    emotions: tuple[str, ...]
    # a number for each item's speaker, -1 where he is not known; int64 (item,), or ``None``
    speakers: np.ndarray | None = None

    def __post_init__(self) -> None:
        if len(self.items) != len(self.labels):
            raise ValueError(f"selection {self.key}: {len(self.items)} items but {len(self.labels)} labels")
        if len(self.emotions) < 2:
            raise ValueError(f"selection {self.key} has the emotions {self.emotions}: selectors compare at least two")
        counts = np.bincount(np.asarray(self.labels, "int64"), minlength=len(self.emotions))
        if len(counts) > len(self.emotions):
            raise ValueError(f"selection {self.key}: label {len(counts) - 1} has no emotion in {self.emotions}")
        if not counts.all():
            raise ValueError(f"selection {self.key} has no item of {self.emotions[int(counts.argmin())]}")


@dataclass(frozen=True)
class Sample:
    """The identification clips of one fold, ``n`` per emotion."""

    fold: str
    clips: tuple[IdentificationClip, ...]
    n: int

    def letter_share(self, emotion: str) -> float | None:
        """The largest share of an emotion's items that show its option behind one and the same letter."""
        letters = Counter(letter for clip in self.clips if clip.emotion == emotion for letter in clip.letters)
        return max(letters.values()) / letters.total() if letters else None

    @property
    def emotions(self) -> tuple[str, ...]:
        """The emotions that it has clips of."""
        return tuple(dict.fromkeys(clip.emotion for clip in self.clips))

    def part(self, emotions: Sequence[str], count: int, start: int = 0) -> Sample:
        """So many clips of each of some emotions, from place ``start`` on, or as many as there are."""
        groups = _by_emotion(self.clips, emotions)
        return Sample(self.fold, tuple(clip for group in groups for clip in group[start : start + count]), count)

    def kept(self, emotion: str, names: Mapping[str, str]) -> float:
        """The share of an emotion's clips that have its name among other names (clip -> emotion)."""
        own = [names[clip.name] for clip in self.clips if clip.emotion == emotion]
        return own.count(emotion) / len(own)

    def selection(
        self, emotions: tuple[str, ...], key: Hashable = None, names: Mapping[str, str] | None = None
    ) -> Selection:
        """The items of the clips, under ``key`` (the fold by default).

        ``names`` says for each clip the emotion that it stands for, in place of its own.
        """
        called = [clip.emotion if names is None else names[clip.name] for clip in self.clips]
        labels = np.array([emotions.index(emotion) for emotion in called])
        rows = np.concatenate([clip.items for clip in self.clips]).astype("int64")
        repeats = [len(clip.items) for clip in self.clips]
        known = {
            name: place for place, name in enumerate(sorted({clip.speaker for clip in self.clips if clip.speaker}))
        }
        speakers = np.repeat([known.get(clip.speaker or "", -1) for clip in self.clips], repeats)
        return Selection(self.fold if key is None else key, rows, np.repeat(labels, repeats), emotions, speakers)


def draw_samples(items: pl.DataFrame, spec: SetSpec) -> tuple[list[Sample], dict[str, int | str]]:
    """Draw the identification clips of every fold, and of all folds together, of items as ``find_sets`` takes them.

    Clips are taken in an order that a hash of seed and clip name decides, so that the row order does not matter and a
    smaller sample is part of a larger one; with ``spec.balance_letters`` in that of :func:`level_letters`. Gives one
    sample per fold, that of all clips last; and for each emotion how many clips that last sample has of it, or why it
    has none. :class:`NotIdentifiable` says that fewer than two emotions reach the minimum outside every fold.

    Example:
        >>> items = pl.DataFrame({
        ...     "item": range(8), "clip": [f"c{i}" for i in range(8)], "speaker": list("ssssttuu"),
        ...     "fold": list("ssssttuu"), "truth": ["anger", "fear"] * 4, "correct": [True] * 8, "status": ["used"] * 8,
        ... })
        >>> samples, identifiable = draw_samples(items, SetSpec(("anger", "fear"), minimum=2))
        >>> [(sample.fold, sample.n) for sample in samples], identifiable
        ([('s', 2), ('t', 3), ('u', 3), ('all', 4)], {'anger': 4, 'fear': 4})
    """
    outside = pools(items, spec)
    counts = _fewest(outside, spec.emotions)
    emotions = [emotion for emotion, count in counts.items() if count >= max(1, spec.minimum)]
    if len(emotions) < 2:
        raise NotIdentifiable(counts, spec.minimum)
    samples = [_equally_many(fold, pool, emotions, spec.items_per_emotion, spec) for fold, pool in outside.items()]
    notes: dict[str, int | str] = {e: f"not identifiable ({count} correct)" for e, count in counts.items()}
    return samples, notes | dict.fromkeys(emotions, samples[-1].n)


def fewer_clips(samples: Sequence[Sample], spec: SetSpec) -> list[tuple[int, Sample]]:
    """Draw smaller samples from those of all folds: ``spec.size_draws`` draws of each of ``spec.sizes``.

    In each draw a hash of seed, draw and clip name orders clips: a smaller sample is part of a larger one, and a clip in
    reach of two folds is drawn in both. A size that some fold does not have, or that is no smaller than what every fold
    has, is left out.
    """
    fewest, most = min(sample.n for sample in samples), max(sample.n for sample in samples)
    sizes = sorted({size for size in spec.sizes if size <= fewest and size < most})
    found = []
    for draw in range(spec.size_draws):
        for sample in samples:
            order = sorted(sample.clips, key=lambda clip: place_in_draw(f"{spec.seed}\x1fdraw {draw}", clip.name))
            found += [(draw, _equally_many(sample.fold, order, sample.emotions, size, spec)) for size in sizes]
    return found


def renamed_clips(samples: Sequence[Sample], control: Control, draw: int, seed: int) -> dict[str, str] | None:
    """Other names for the clips of all folds' samples together: clip -> the emotion that it stands for in every fold.

    Names are drawn anew while some fold has no clip of one of them; ``None`` where that does not end.
    """
    assert control.relabel is not None
    emotions = samples[0].emotions
    every = {clip.name: clip for sample in samples for clip in sample.clips}
    clips = sorted(every.values(), key=lambda clip: place_in_draw(seed, clip.name))
    labels = np.array([emotions.index(clip.emotion) for clip in clips])
    units = [(clip.speaker, clip.block) for clip in clips]
    generator = seeded_generator(seed, control.name, draw)
    for _ in range(MOST_TRIES):
        found = control.relabel(labels, units, generator)
        names = {clip.name: emotions[label] for clip, label in zip(clips, found.tolist(), strict=True)}
        if all(len({names[clip.name] for clip in sample.clips}) == len(emotions) for sample in samples):
            return names
    return None


def outcome_samples(
    items: pl.DataFrame, samples: Sequence[Sample], emotions: Sequence[str], spec: SetSpec
) -> tuple[list[tuple[str, int, Sample]], Notes]:
    """Draw misses and false alarms, and as many hits, for every fold: (control, draw, sample) of each; and notes on them.

    An emotion with fewer than ``spec.minimum`` clips of an outcome outside some fold is left out; with fewer than two
    emotions the outcome has no set. In each fold all emotions have the same number of clips, no more than the fold's
    hits. The hits are the first so many of the fold's own sample; where they are that sample itself, they are not drawn
    again. Where every fold has twice as many, the next so many are a second draw, which says how alike two sets of hits
    are that share no clip. ``samples`` and ``emotions`` are those of the hits (:func:`draw_samples`).
    """
    drawn, notes = list[tuple[str, int, Sample]](), Notes()
    for outcome, like in OUTCOMES.items():
        outside = pools(items, spec, outcome)
        counts = _fewest(outside, emotions)
        kept = [emotion for emotion in emotions if counts[emotion] >= max(1, spec.minimum)]
        notes[outcome] = {e: f"no set ({count} {outcome.replace('-', ' ')})" for e, count in counts.items()}
        if len(kept) < 2:
            continue
        found = [_equally_many(sample.fold, outside[sample.fold], kept, sample.n, spec) for sample in samples]
        hits = [sample.part(kept, its.n) for sample, its in zip(samples, found, strict=True)]
        more = [sample.part(kept, its.n, start=its.n) for sample, its in zip(samples, found, strict=True)]
        notes[outcome] |= dict.fromkeys(kept, found[-1].n)
        drawn += [(outcome, 0, sample) for sample in found]
        if hits != list(samples):
            drawn += [(like, 0, sample) for sample in hits]
        if all(len(sample.clips) == len(hit.clips) for sample, hit in zip(more, hits, strict=True)):
            drawn += [(like, 1, sample) for sample in more]
    return drawn, notes


def pools(items: pl.DataFrame, spec: SetSpec, outcome: Outcome = "hits") -> dict[str, list[IdentificationClip]]:
    """The clips that may identify in each fold, and in all folds together: those outside it, in seeded order.

    Outcomes are ``"hits"``: items answered correctly; ``"misses"``: answered otherwise, under their true label; and
    ``"false-alarms"``: answered wrongly, under the label that was answered. A clip that has a hit, in any letter order
    or wording, has neither. A ``ValueError`` says which column the items table lacks for this.
    """
    used = items.filter(pl.col("status") == USED)
    if outcome == "false-alarms" and "answered" not in used.columns:
        raise ValueError("the items table does not say what was answered: run the study again, its answers are kept")
    if spec.balance_letters and "options" not in used.columns:
        raise ValueError("balance_letters: the items table does not say which options were shown in which order")
    fixed = "side" in used.columns and "both" not in used["side"].to_list()
    clips = sorted(_clips(used, spec, outcome), key=lambda clip: (place_in_draw(spec.seed, clip.name), clip.emotion))
    return {fold: [clip for clip in clips if fixed or fold == ALL or clip.fold != fold] for fold in acting_folds(used)}


def acting_folds(items: pl.DataFrame) -> list[str]:
    """The folds in which sets act, ``"all"`` last; of fixed sides, that which tests.

    Example:
        >>> acting_folds(pl.DataFrame({"fold": ["t", "s", None, "s"]}))
        ['s', 't', 'all']
    """
    return [*on_side(items, "evaluate")["fold"].drop_nulls().unique().sort().to_list(), ALL]


def on_side(items: pl.DataFrame, side: Side) -> pl.DataFrame:
    """The items that may ``"identify"``, or ``"evaluate"``; all of them where no sides are fixed."""
    return items.filter(pl.col("side").is_in(["both", side])) if "side" in items.columns else items


def _by_emotion(clips: Sequence[IdentificationClip], emotions: Sequence[str]) -> list[list[IdentificationClip]]:
    return [[clip for clip in clips if clip.emotion == emotion] for emotion in emotions]


def _fewest(pools: Mapping[str, Sequence[IdentificationClip]], emotions: Sequence[str]) -> dict[str, int]:
    """How many clips of each emotion every fold has at least."""
    return {e: min(sum(clip.emotion == e for clip in pool) for pool in pools.values()) for e in emotions}


def _equally_many(
    fold: str, clips: Sequence[IdentificationClip], emotions: Sequence[str], most: int, spec: SetSpec
) -> Sample:
    """The first clips of each emotion, as many as all have, with the letters levelled where the specification asks it."""
    groups = _by_emotion(clips, emotions)
    n = min(most, *map(len, groups))
    chosen = [level_letters(group, n) if spec.balance_letters else group[:n] for group in groups]
    return Sample(fold, tuple(chain.from_iterable(chosen)), n)


def level_letters(clips: Sequence[IdentificationClip], count: int) -> list[IdentificationClip]:
    """Choose clips of one emotion so that its option stands behind each letter as equally often as can be.

    One clip after the other is taken for the letter that was taken least so far, as long as some clip has it: of
    these the one that has fewest letters to offer, and among such the first. Only the items with that letter stay,
    so that every clip has one letter. The first n of a longer choice are those of a choice of n.

    Example:
        >>> clips = [IdentificationClip(f"c{n}", "fear", None, None, (n,), (int(n > 2),)) for n in range(5)]
        >>> [clip.name for clip in level_letters(clips, 4)]  # c0 to c2 behind A, c3 and c4 behind B
        ['c0', 'c3', 'c1', 'c4']
    """
    left, taken = list(clips), Counter[int]()
    found: list[IdentificationClip] = []
    while left and len(found) < count:
        there = {letter for clip in left for letter in clip.letters}
        letter = min(there, key=lambda choice: (taken[choice], choice))
        clip = min((offer for offer in left if letter in offer.letters), key=lambda offer: len(set(offer.letters)))
        left.remove(clip)
        taken[letter] += 1
        items = tuple(item for item, shown in zip(clip.items, clip.letters, strict=True) if shown == letter)
        found.append(replace(clip, items=items, letters=(letter,) * len(items)))
    return found


def _clips(used: pl.DataFrame, spec: SetSpec, outcome: Outcome) -> Iterable[IdentificationClip]:
    """The clips that may identify, each with its items of one outcome and one label."""
    right = pl.col("correct").fill_null(False)
    label = pl.col("answered" if outcome == "false-alarms" else "truth")
    options = pl.col("options") if "options" in used.columns else pl.lit(None, dtype=pl.List(pl.String))
    hit = used.filter(right)["clip"].unique().to_list()
    wrong = pl.col("correct").eq(False).fill_null(False) & ~pl.col("clip").is_in(hit)
    chosen = on_side(used, "identify").filter(right if outcome == "hits" else wrong, label.is_in(list(spec.emotions)))
    block = pl.col("block") if "block" in used.columns else pl.lit(None, dtype=pl.String).alias("block")
    chosen = chosen.select("clip", "speaker", block, "fold", "item", label=label, options=options).sort("item")
    groups = chosen.group_by("clip", "label", maintain_order=True)
    columns = groups.agg(pl.col("speaker", "block", "fold").first(), "item", "options")
    for name, emotion, speaker, block, fold, items, shown in columns.iter_rows():
        letters = tuple(options.index(emotion) for options in shown if options)
        yield IdentificationClip(name, emotion, speaker, fold, tuple(items), letters, block)


def place_in_draw(seed: int | str, clip: str) -> tuple[str, str]:
    """The place of a clip in the order in which samples are drawn."""
    return hashlib.sha256(f"{seed}\x1f{clip}".encode()).hexdigest(), clip
