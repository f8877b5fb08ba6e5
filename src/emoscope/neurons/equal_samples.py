"""Several corpora that are compared: the same emotions, and equally many clips of each for every set."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.identification import NotIdentifiable, Sample, draw_samples
from emoscope.neurons.selection_plan import Selection
from emoscope.neurons.set_spec import ALL, SetSpec


@dataclass(frozen=True)
class Source:
    """One corpus that was heard, asked one question.

    Attributes:
        name: how the sets that are found in it are called.
        activity: its store.
        items: its items, as :func:`~emoscope.neurons.selection.find_sets` takes them.
    """

    name: str
    activity: Activity
    items: pl.DataFrame


@dataclass(frozen=True)
class EqualSamples:
    """The identification clips of several sources, ``n`` of each emotion wherever their sets act.

    Attributes:
        emotions: those that can be identified in every source that is not left out.
        n: clips per emotion.
        samples: (source, host) -> fold of the host -> the source's clips for it: those of nobody who is in the fold;
            ``"all"``: all clips, which also stand for folds that are not listed since none of their people is in the
            source.
        left_out: source -> why no sets are found in it.
        identifiable: emotion -> ``n``, or where it is lacking.
    """

    emotions: tuple[str, ...]
    n: int
    samples: dict[tuple[str, str], dict[str, Sample]]
    left_out: dict[str, str]
    identifiable: dict[str, int | str]

    @property
    def kept(self) -> tuple[str, ...]:
        """The sources that are not left out."""
        return tuple(source for source, host in self.samples if source == host)

    def sample(self, source: str, host: str, fold: str) -> Sample:
        """The clips of a source that find the set that acts on a fold of the host."""
        folds = self.samples[source, host]
        return folds.get(fold, folds[ALL])

    @property
    def fused_n(self) -> int:
        """Clips per emotion that a fused set takes of each source, so that it has no more than ``n`` in all.

        It is 0 where there is nothing to fuse: one source, or more sources than clips.
        """
        return self.n // len(self.kept) if len(self.kept) > 1 else 0


def equal_samples(sources: Sequence[Source], spec: SetSpec) -> EqualSamples:
    """Draw equally many clips of the same emotions from every source and each of its folds' complements.

    A source in which fewer than two emotions can be identified is left out. So is, as long as the others have
    fewer than two in common, the one without which they have most (of several the last). Where all are left out,
    there are no emotions and no clips.

    Args:
        sources: the sources, all of one model, with different names.
        spec: emotions, the cap per emotion, the minimum and the seed.

    Raises:
        ValueError: two sources of one name, decoders of different sizes, or activations of another site.

    Example:
        >>> import tempfile
        >>> store = Activity.create(f"{tempfile.mkdtemp()}/activity.zarr", 6, 1, 1, np.ones((1, 1)), 6)
        >>> items = pl.DataFrame({
        ...     "item": range(6), "clip": [f"c{i}" for i in range(6)], "speaker": list("ssttuu"),
        ...     "fold": list("ssttuu"), "truth": ["anger", "fear"] * 3, "correct": [True] * 6, "fate": ["used"] * 6,
        ... })
        >>> few = Source("few", store, items.filter(pl.col("speaker") != "u"))
        >>> found = equal_samples([Source("many", store, items), few], SetSpec(("anger", "fear"), minimum=1))
        >>> found.n, list(found.samples["many", "many"]), list(found.samples["few", "many"])
        (1, ['s', 't', 'u', 'all'], ['all'])
    """
    _refuse_unlike(sources, spec)
    found: dict[str, dict[str, str]] = {}  # source -> emotion -> why it is not identifiable, or nothing
    left_out: dict[str, str] = {}
    seen = {source.name: _seen(source, sources) for source in sources}
    for name, tables in seen.items():
        try:
            counted = [draw_samples(items, spec)[1] for items in tables.values()]
        except NotIdentifiable as error:
            left_out[name] = str(error)
            continue
        found[name] = {e: next((w for one in counted if isinstance(w := one[e], str)), "") for e in spec.emotions}
    known = {name: [emotion for emotion, why in one.items() if not why] for name, one in found.items()}
    for name in [name for name, emotions in known.items() if len(emotions) < 2]:
        left_out[name] = "fewer than two emotions are identifiable without the speakers that another corpus has too"
        del known[name]
    while known and len(_common(known)) < 2:
        worst = max(reversed(known), key=lambda name: len(_common({k: v for k, v in known.items() if k != name})))
        others = ", ".join(name for name in known if name != worst)
        left_out[worst] = (
            f"of its identifiable emotions ({', '.join(known.pop(worst))}) fewer than two are identifiable in {others}"
        )
    if not known:
        return EqualSamples((), 0, {}, left_out, dict.fromkeys(spec.emotions, "not identifiable in any corpus"))
    common = _common(known)
    wanted = dataclasses.replace(spec, emotions=tuple(emotion for emotion in spec.emotions if emotion in common))
    pairs = [(name, host, items) for name in known for host, items in seen[name].items()]
    n = min(sample.n for _, _, items in pairs for sample in draw_samples(items, wanted)[0])
    equal = dataclasses.replace(wanted, items_per_emotion=n)
    drawn = {(name, host): {one.fold: one for one in draw_samples(items, equal)[0]} for name, host, items in pairs}
    samples = {
        (name, host.name): drawn.get((name, host.name), {ALL: drawn[name, name][ALL]})
        for name in known for host in sources
    }  # fmt: skip
    lacking = {e: "; ".join(f"{name}: {found[name][e]}" for name in known if found[name][e]) for e in spec.emotions}
    return EqualSamples(wanted.emotions, n, samples, left_out, {e: lacking[e] or n for e in spec.emotions})


def _seen(source: Source, hosts: Sequence[Source]) -> dict[str, pl.DataFrame]:
    """The source's items in its own folds, and in those of every other host that tests people who are in both.

    People are speakers of the same corpus; where a speaker is unknown, or in several of the host's folds, a clip stands
    for one. Clips of people whom
    the host does not test are in none of its folds.
    """
    tables = {source.name: source.items}
    if "corpus" not in source.items.columns:
        return tables
    items = source.items
    if "side" in items.columns:
        items = items.filter(pl.col("side").is_in(["both", "identify"])).drop("side")
    items = items.drop("fold")
    for host in hosts:
        if host.name == source.name or "corpus" not in host.items.columns:
            continue
        tested = _tested(host.items).drop_nulls("fold")
        # one voice in several folds, which a study can ask for: there, too, a clip stands for itself
        spread = tested.group_by("corpus", "speaker").agg(alone=pl.col("fold").n_unique() > 1)
        mine, theirs = (_people(one, spread) for one in (items, tested))
        folds = theirs.select("person", "fold").unique("person", keep="first", maintain_order=True)
        placed = mine.join(folds, on="person", how="left", nulls_equal=True)
        if placed["fold"].null_count() < placed.height:
            tables[host.name] = placed
    return tables


def _people(items: pl.DataFrame, spread: pl.DataFrame) -> pl.DataFrame:
    """The items with the column ``person``: a speaker, or a clip where the speaker is unknown or in several folds."""
    known = items.join(spread, on=["corpus", "speaker"], how="left", nulls_equal=True, maintain_order="left")
    alone = pl.col("speaker").is_null() | pl.col("alone").fill_null(False)
    return known.with_columns(person=pl.struct("corpus", "speaker", clip=pl.when(alone).then("clip"))).drop("alone")


def _tested(items: pl.DataFrame) -> pl.DataFrame:
    return items.filter(pl.col("side").is_in(["both", "evaluate"])) if "side" in items.columns else items


def host_folds(items: pl.DataFrame) -> list[str]:
    """The folds of a corpus in which sets act, ``"all"`` last; of fixed sides, that which tests.

    Example:
        >>> host_folds(pl.DataFrame({"fold": ["t", "s", None, "s"]}))
        ['s', 't', 'all']
    """
    return [*_tested(items)["fold"].drop_nulls().unique().sort().to_list(), ALL]


def first_clips(sample: Sample, emotions: tuple[str, ...], count: int) -> Sample:
    """The first so many clips of each emotion of a sample."""
    groups = [[clip for clip in sample.clips if clip.emotion == emotion][:count] for emotion in emotions]
    return Sample(sample.fold, tuple(clip for group in groups for clip in group), count)


def selection_of(sample: Sample, emotions: tuple[str, ...]) -> Selection:
    """The items of a sample, under the name of its fold."""
    labels = np.array([emotions.index(clip.emotion) for clip in sample.clips])
    rows = np.concatenate([clip.items for clip in sample.clips]).astype("int64")
    return Selection(sample.fold, rows, np.repeat(labels, [len(clip.items) for clip in sample.clips]), emotions)


def _common(known: dict[str, list[str]]) -> set[str]:
    return set.intersection(*map(set, known.values())) if known else set()


def _refuse_unlike(sources: Sequence[Source], spec: SetSpec) -> None:
    names = [source.name for source in sources]
    if len(set(names)) < len(names):
        raise ValueError(f"sources {names}: give each another name")
    for source in sources:
        activity, first = source.activity, sources[0].activity
        if (activity.layers, activity.width) != (first.layers, first.width):
            raise ValueError(
                f"{source.name} was heard by a decoder of {activity.layers} layers x {activity.width} neurons and "
                f"{sources[0].name} by one of {first.layers} x {first.width}: sets of different models cannot be compared"
            )
        if activity.site != spec.site:
            raise ValueError(
                f"site {spec.site!r}: the activity of {source.name} was read at {activity.site!r}; listen again with that site"
            )
