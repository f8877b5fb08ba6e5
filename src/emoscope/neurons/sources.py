"""Several corpora that are compared: on the same emotions and equally many clips; and how far their neurons agree."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations, product

import numpy as np
import polars as pl

from emoscope.neurons.activity import Activity
from emoscope.neurons.jobs import ALL, SetSpec
from emoscope.neurons.ranking import DECIMALS, Lists, SelectionPlan
from emoscope.neurons.samples import NotIdentifiable, Sample, draw_samples, on_side
from emoscope.neurons.selectors import find_selector

AGREEMENT: dict[str, type[pl.DataType]] = dict.fromkeys(("source", "target", "selector", "emotion"), pl.String)
AGREEMENT["n"] = pl.Int64
AGREEMENT |= dict.fromkeys(("jaccard", "jaccard_other", "chance", "spearman", "spearman_other"), pl.Float64)
"""Columns of ``agreement.parquet``, see :func:`score_agreement`."""


@dataclass(frozen=True)
class Source:
    """One corpus that was heard, asked one question: its store, and items as ``find_sets`` takes them."""

    name: str
    activity: Activity
    items: pl.DataFrame


@dataclass(frozen=True)
class EqualSamples:
    """The identification clips of several sources, ``n`` of each emotion wherever their sets act."""

    emotions: tuple[str, ...]  # those that can be identified in every source that is not left out
    n: int
    # (source, host) -> fold of the host -> the source's clips for it: those of nobody who is in the fold; ``"all"``:
    # all clips, which also stand for folds that are not listed since none of their people is in the source
    samples: dict[tuple[str, str], dict[str, Sample]]
    left_out: dict[str, str]  # source -> why no sets are found in it
    identifiable: dict[str, int | str]  # emotion -> ``n``, or where it is lacking

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
    there are no emotions and no clips. A ``ValueError`` says which sources cannot be compared.

    Example:
        >>> import tempfile
        >>> store = Activity.create(f"{tempfile.mkdtemp()}/activity.zarr", 6, 1, 1, np.ones((1, 1)), 6)
        >>> items = pl.DataFrame({
        ...     "item": range(6), "clip": [f"c{i}" for i in range(6)], "speaker": list("ssttuu"),
        ...     "fold": list("ssttuu"), "truth": ["anger", "fear"] * 3, "correct": [True] * 6, "status": ["used"] * 6,
        ... })
        >>> few = Source("few", store, items.filter(pl.col("speaker") != "u"))
        >>> found = equal_samples([Source("many", store, items), few], SetSpec(("anger", "fear"), minimum=1))
        >>> found.n, list(found.samples["many", "many"]), list(found.samples["few", "many"])
        (1, ['s', 't', 'u', 'all'], ['all'])
    """
    _refuse_unlike(sources, spec)
    seen = {source.name: _seen(source, sources) for source in sources}
    found, left_out = _identifiable(seen, spec)
    known = {name: [e for e, why in whys.items() if not why] for name, whys in found.items() if name not in left_out}
    if not known:
        return EqualSamples((), 0, {}, left_out, dict.fromkeys(spec.emotions, "not identifiable in any corpus"))
    common = _common(known)
    wanted = replace(spec, emotions=tuple(emotion for emotion in spec.emotions if emotion in common))
    tables = {(name, host): items for name in known for host, items in seen[name].items()}
    n = min(sample.n for items in tables.values() for sample in draw_samples(items, wanted)[0])
    equal = replace(wanted, items_per_emotion=n)
    drawn = {pair: {sample.fold: sample for sample in draw_samples(items, equal)[0]} for pair, items in tables.items()}
    samples = {
        (name, host.name): drawn.get((name, host.name), {ALL: drawn[name, name][ALL]})
        for name, host in product(known, sources)
    }
    lacking = {e: "; ".join(f"{name}: {found[name][e]}" for name in known if found[name][e]) for e in spec.emotions}
    return EqualSamples(wanted.emotions, n, samples, left_out, {e: lacking[e] or n for e in spec.emotions})


def _identifiable(
    seen: Mapping[str, Mapping[str, pl.DataFrame]], spec: SetSpec
) -> tuple[dict[str, dict[str, str]], dict[str, str]]:
    """Source -> emotion -> why it is not identifiable there, or nothing; and source -> why it is left out."""
    found: dict[str, dict[str, str]] = {}
    left_out: dict[str, str] = {}
    for name, tables in seen.items():
        try:
            counted = [draw_samples(items, spec)[1] for items in tables.values()]
        except NotIdentifiable as error:
            left_out[name] = str(error)
            continue
        found[name] = {e: next((w for counts in counted if isinstance(w := counts[e], str)), "") for e in spec.emotions}
    known = {name: [emotion for emotion, why in whys.items() if not why] for name, whys in found.items()}
    for name in [name for name, emotions in known.items() if len(emotions) < 2]:
        left_out[name] = "fewer than two emotions are identifiable without the speakers that another corpus has too"
        del known[name]
    while known and len(_common(known)) < 2:
        worst = max(reversed(known), key=lambda name: len(_common({k: v for k, v in known.items() if k != name})))
        others = ", ".join(name for name in known if name != worst)
        left_out[worst] = (
            f"of its identifiable emotions ({', '.join(known.pop(worst))}) fewer than two are identifiable in {others}"
        )
    return found, left_out


def _seen(source: Source, hosts: Sequence[Source]) -> dict[str, pl.DataFrame]:
    """The source's items in its own folds, and in those of every other host that tests people who are in both.

    People are speakers of the same corpus; where a speaker is unknown, or in several of the host's folds, a clip stands
    for one. Clips of people whom the host does not test are in none of its folds.
    """
    tables = {source.name: source.items}
    if "corpus" not in source.items.columns:
        return tables
    items = on_side(source.items, "identify").drop("side", "fold", strict=False)
    for host in hosts:
        if host.name == source.name or "corpus" not in host.items.columns:
            continue
        tested = on_side(host.items, "evaluate").drop_nulls("fold")
        # one voice in several folds, which a study can ask for: there, too, a clip stands for itself
        spread = tested.group_by("corpus", "speaker").agg(alone=pl.col("fold").n_unique() > 1)
        own, theirs = (_people(table, spread) for table in (items, tested))
        folds = theirs.select("person", "fold").unique("person", keep="first", maintain_order=True)
        placed = own.join(folds, on="person", how="left", nulls_equal=True)
        if placed["fold"].null_count() < placed.height:
            tables[host.name] = placed
    return tables


def _people(items: pl.DataFrame, spread: pl.DataFrame) -> pl.DataFrame:
    """The items with the column ``person``: a speaker, or a clip where the speaker is unknown or in several folds."""
    known = items.join(spread, on=["corpus", "speaker"], how="left", nulls_equal=True, maintain_order="left")
    alone = pl.col("speaker").is_null() | pl.col("alone").fill_null(False)
    return known.with_columns(person=pl.struct("corpus", "speaker", clip=pl.when(alone).then("clip"))).drop("alone")


def _common(known: Mapping[str, Sequence[str]]) -> set[str]:
    return set.intersection(*map(set, known.values())) if known else set()


def _refuse_unlike(sources: Sequence[Source], spec: SetSpec) -> None:
    names, first = [source.name for source in sources], sources[0].activity
    if len(set(names)) < len(names):
        raise ValueError(f"sources {names}: give each another name")
    for source in sources:
        activity = source.activity
        if (activity.layers, activity.width) != (first.layers, first.width):
            raise ValueError(
                f"{source.name} was heard by a decoder of {activity.layers} layers x {activity.width} neurons and "
                f"{sources[0].name} by one of {first.layers} x {first.width}: sets of different models cannot be compared"
            )
        if activity.site != spec.site:
            raise ValueError(
                f"site {spec.site!r}: the activity of {source.name} was read at {activity.site!r}; listen again with that site"
            )


def score_agreement(sources: Sequence[Source], spec: SetSpec) -> pl.DataFrame:
    """Compare the sets and scores of every two sources, emotion by emotion, for all selectors.

    Both come from equally many clips of the same emotions (:func:`equal_samples`), the sets at the headline's budget.
    A row for every two sources (in their order), selector and emotion: ``n`` clips per emotion in each; ``jaccard`` of
    their sets, beside ``chance`` (expected of two random sets of these sizes) and ``jaccard_other``, with the sets of
    other emotions, mean; ``spearman``, the rank correlation of the scores of all neurons (those that are not eligible
    share the lowest rank; null where a score does not vary), beside ``spearman_other``, with the scores for other
    emotions, mean. Empty where fewer than two sources are not left out.
    """
    equal = equal_samples(sources, spec)
    kept = [source for source in sources if source.name in equal.kept]
    rows: list[dict[str, object]] = []
    for selector in spec.selectors if len(kept) > 1 else ():
        found = {source.name: _score(source, equal, spec, selector) for source in kept}
        for first, second in combinations(found, 2):
            about = {"source": first, "target": second, "selector": selector, "n": equal.n}
            rows += [about | row for row in _compared(found[first], found[second])]
    return pl.DataFrame(rows, schema=AGREEMENT)


Scored = tuple[np.ndarray, dict[str, np.ndarray]]
"""What a selector makes of a source: ranks of all neurons, centred and of length 1 (emotion, neuron), and sets."""


def _score(source: Source, equal: EqualSamples, spec: SetSpec, name: str) -> Scored:
    from scipy.stats import rankdata  # imported late: it takes long, and few studies transfer sets

    activity, selector, emotions = source.activity, find_selector(name), equal.emotions
    size = spec.neurons(spec.headline[1], source.activity.neurons)
    lists = Lists(size, len(emotions), spec.seed, selector.one_list)
    selection = equal.sample(source.name, source.name, ALL).selection(emotions)
    plan = SelectionPlan(activity, [selection], spec.scope_name, spec.floor)
    scores = np.empty((len(emotions), source.activity.neurons))
    for layer, (given,) in enumerate(plan.statistics(dict.fromkeys(selector.needs, (0,)))):
        found, first = selector(given), layer * activity.width
        scores[:, first : first + activity.width] = found
        lists.add(found, given.mean, first)
    ranks = rankdata(np.round(scores, DECIMALS), axis=1)
    ranks -= ranks.mean(axis=1, keepdims=True)
    length = np.sqrt((ranks**2).sum(axis=1, keepdims=True))
    ranks /= np.where(length > 0, length, np.nan)
    chosen = lists.take(size)
    return ranks, {emotion: best.neurons for emotion, best in zip(emotions, chosen, strict=True)}


def _compared(first: Scored, second: Scored) -> Iterator[dict[str, object]]:
    (ranks, sets), (other_ranks, other_sets) = first, second
    correlations = ranks @ other_ranks.T
    shared = np.array([[len(np.intersect1d(a, b)) for b in other_sets.values()] for a in sets.values()], float)
    either = np.array([[len(np.union1d(a, b)) for b in other_sets.values()] for a in sets.values()], float)
    jaccard = np.divide(shared, either, out=np.zeros_like(shared), where=either > 0)
    for i, (emotion, found) in enumerate(sets.items()):
        chance = expected_jaccard(len(found), len(other_sets[emotion]), ranks.shape[1])
        row = {"emotion": emotion, "jaccard": jaccard[i, i], "jaccard_other": _others(jaccard, i), "chance": chance}
        spearman = {"spearman": correlations[i, i], "spearman_other": _others(correlations, i)}
        yield row | {name: None if np.isnan(value) else float(value) for name, value in spearman.items()}


def _others(table: np.ndarray, place: int) -> float:
    """Mean of an emotion with the other emotions, in both directions."""
    others = np.arange(len(table)) != place
    return float(np.mean([table[place, others], table[others, place]]))


def expected_jaccard(first: int, second: int, neurons: int) -> float:
    """The expected Jaccard index of two random sets of these sizes, of all neurons.

    The number that they share is hypergeometric; i shared neurons give i / (first + second - i).

    Example:
        >>> round(expected_jaccard(1, 2, 4), 6)  # half of the time one shared, of two
        0.25
    """
    from scipy.special import gammaln

    def choose(n: int, k: np.ndarray | int) -> np.ndarray:
        return np.asarray(gammaln(n + 1) - gammaln(k + 1) - gammaln(n - k + 1))

    if not first or not second:
        return 0.0
    shared = np.arange(max(0, first + second - neurons), min(first, second) + 1, dtype=float)
    log_share = choose(first, shared) + choose(neurons - first, second - shared) - choose(neurons, second)
    return float(np.sum(np.exp(log_share) * shared / (first + second - shared)))
