"""Selectors against models in which the answer is known: each ranks the written neurons, and is scored by a measured key."""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from emoscope import __version__
from emoscope.neurons.activity import Activity, scope_parts
from emoscope.neurons.attributed import FOLDER, KINDS, save
from emoscope.neurons.ranking import SelectionPlan, tie_order
from emoscope.neurons.samples import Selection
from emoscope.neurons.selectors import SELECTORS, find_selector, needs_gradients, own_code
from emoscope.runs import Log
from emoscope.runs.folder import digest

if TYPE_CHECKING:
    from emoscope.experiments.schema import Row
    from emoscope.models.audio_lm import AudioLM
    from emoscope.testing.old_path import Voices
    from emoscope.testing.planted import Planted

CORPUS = "polish"
TRAINING = 0.6  # share of the clips of each speaker and emotion on which directions are found; others are listened to
SCOPES = ("all", "audio", "text")  # positions that count, one at a time
HEARS = 0.25  # by how much a model must beat chance
LEFT = 1 / 3  # of that, what may be left where causal neurons and those on which it depends are off
RESTORED = 3 / 4  # of that, what causal neurons alone must keep
HARMLESS = 0.05  # by how much the neurons that are not causal may change the recall, together
ERRORS = 2.0  # standard errors that an effect must be clear of zero
SLIGHT = 1 / 4  # of the mean effect of causal kinds: what one that is not causal may do
CEILING = 5.0  # nat; beyond these log-odds an answer is as good as certain
WIDE = 0.05  # share of all neurons, written or not, that is looked at as well


def run_benchmark(
    out: str | Path, seeds: Iterable[int] = range(20), selectors: Sequence[str] = (), log: Log | None = None
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Write a model for each seed, listen to it, rank its neurons by each selector, and score by what they really do.

    What was done before, by the same version and selectors, is not done again. Each seed's folder holds ``key.parquet``,
    the written neurons with what switching their kind off does, ``ranks.parquet`` and ``card.json``.

    Args:
        selectors: by name, those of packages too; by default all that are known.

    Returns:
        tables ``scores`` (model, selector, scope, emotion) and ``chosen`` (the same and kind), also in the folder.

    Raises:
        ValueError: a selector is not known.
    """
    out, log = Path(out), log or Log("quiet")
    usual = [name for name, it in SELECTORS.items() if not it.one_list]
    names = tuple(find_selector(name).name for name in selectors or usual)
    asked = digest([__version__, names, own_code(names)])
    out.mkdir(parents=True, exist_ok=True)
    seeds = list(seeds)
    heard: tuple[AudioLM, Voices] | None = None
    with log.stage("written models", len(seeds), "models") as progress:
        for seed in seeds:
            place = out / f"seed-{seed:03}"
            if not (place / "card.json").is_file() or _card(place)["asked"] != asked:
                heard = heard or _heard()
                _one(place, seed, names, asked, *heard)
            progress.step()
    return gather(out, seeds)


def _card(place: Path) -> Row:
    return dict(json.loads((place / "card.json").read_text(encoding="utf-8")))


def gather(out: Path, seeds: Iterable[int]) -> tuple[pl.DataFrame, pl.DataFrame]:
    """The scores of some seeds together, of the models that hold."""
    found = [score(out / f"seed-{seed:03}", seed) for seed in seeds]
    scores, chosen = (pl.concat([pair[n] for pair in found if len(pair[n])] or [pl.DataFrame()]) for n in (0, 1))
    for name, table in (("scores", scores), ("chosen", chosen)):
        table.write_parquet(out / f"{name}.parquet")
        table.write_csv(out / f"{name}.csv")
    return scores, chosen


def _heard() -> tuple[AudioLM, Voices]:
    from emoscope.corpora import open_corpus
    from emoscope.models.registry import load_model
    from emoscope.testing.old_path import Voices

    corpus = open_corpus(CORPUS)
    model = load_model("tiny")
    return model, Voices.of(model, corpus.clips, tuple(sorted({clip.labels["emotion"] for clip in corpus.clips})))


def _one(place: Path, seed: int, names: Sequence[str], asked: str, model: AudioLM, voices: Voices) -> None:
    """Write one model, measure its key, listen and rank."""
    from emoscope.testing.planted import plant

    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    training = in_training(voices, seed)
    planted = plant(model, voices.part(training), seed)
    others = planted.hear(voices.part(~training))
    found, key = measure(planted, others)
    card = dict(found)
    key.write_parquet(place / "key.parquet")
    answers, store = listen(planted, others, place / "activity.zarr")
    ranks, clips = rank(planted, others, answers, store, names)
    ranks.write_parquet(place / "ranks.parquet")
    for name in ("activity.zarr", FOLDER):
        shutil.rmtree(place / name, ignore_errors=True)
    info = planted.model.info
    card |= {"asked": asked, "seed": seed, "clips": clips, "layers": info.layers, "width": info.width}
    card |= {"checksum": info.checksum, "emotions": list(voices.emotions), "selectors": list(names)}
    card["two_hop"], card["strength"] = voices.emotions[planted.two_hop], planted.strength
    card["said"] = [round(float(cosine), 3) for cosine in planted.ground.said]
    (place / "card.json").write_text(json.dumps(card, indent=1), encoding="utf-8")


def in_training(voices: Voices, seed: int) -> np.ndarray:
    """Which clips directions are found on: of each speaker and emotion the same share, drawn."""
    from emoscope.neurons.controls import seeded_generator

    rng, found = seeded_generator(seed, "training clips", 0), np.zeros(len(voices.truth), dtype=bool)
    for speaker in np.unique(voices.speakers):
        for code in range(len(voices.emotions)):
            own = rng.permutation(np.flatnonzero((voices.speakers == speaker) & (voices.truth == code)))
            found[own[: round(TRAINING * len(own))]] = True
    return found


def measure(planted: Planted, voices: Voices) -> tuple[Row, pl.DataFrame]:
    """What the written neurons really do: recalls with some of them off, and the effect of each kind of each emotion.

    An effect is what the log-odds of the emotion (within ``CEILING``) lose on its own clips, less what they lose on
    others, when its neurons of one kind are switched off together.

    Returns:
        recalls and whether the model holds; one row a neuron: what its kind counts as, and what it counts as here.
    """
    from emoscope.interventions.kinds import deactivate
    from emoscope.testing.planted import CAUSAL, DEPENDS, KINDS, NOT_CAUSAL, Written

    info, neurons = planted.model.info, planted.neurons

    def off(which: Sequence[Written]) -> np.ndarray:
        gains = deactivate(planted.flat(which)) if which else None
        return voices.answers(planted.model, gains and (lambda rows: gains.gains(info, rows)))

    def counting(*counts: str) -> list[Written]:
        return [each for each in neurons if each.counts in counts]

    whole = off([])
    recalls = {"whole": voices.recall(whole), "chance": (chance := 1 / len(voices.emotions))}
    recalls |= {"off": voices.recall(off(counting(CAUSAL, DEPENDS)))}
    recalls |= {"alone": voices.recall(off(counting(DEPENDS, NOT_CAUSAL)))}
    recalls |= {"others off": voices.recall(off(counting(NOT_CAUSAL)))}
    heard = recalls["whole"] - chance
    wrong = {"hears": heard < HEARS, "off": recalls["off"] - chance > LEFT * heard}
    wrong["alone"] = recalls["alone"] - chance < RESTORED * heard
    wrong["others off"] = abs(recalls["others off"] - recalls["whole"]) > HARMLESS
    failed = [name for name, fails in wrong.items() if fails]
    effects = {}
    for kind in KINDS:
        for whose in {each.emotion for each in neurons if each.kind == kind}:
            answers = off([each for each in neurons if each.kind == kind and each.emotion == whose])
            for code in range(len(voices.emotions)) if whose is None else [whose]:
                effects[kind, code] = _effect(voices, whole, answers, code)
    causal = [effect for (kind, _), (effect, _) in effects.items() if KINDS[kind][0] == CAUSAL]
    rows = []
    for each in neurons:
        codes = range(len(voices.emotions)) if each.emotion is None else [each.emotion]
        effect, error = min((effects[each.kind, code] for code in codes), key=lambda pair: pair[0])
        clear = effect < -ERRORS * error
        moved = clear and effect < SLIGHT * np.mean(causal) if each.counts == NOT_CAUSAL else not clear
        rows.append({
            "neuron": each.layer * info.width + each.index, "layer": each.layer, "index": each.index, "kind": each.kind,
            "emotion": None if each.emotion is None else voices.emotions[each.emotion],
            "other": None if each.other is None else voices.emotions[each.other],
            "meant": each.counts, "counts": DEPENDS if moved else each.counts, "effect": effect, "error": error,
        })  # fmt: skip
    frame = pl.DataFrame(rows, infer_schema_length=None).sort("neuron")
    return {"recalls": recalls, "failed": failed}, frame


def _effect(voices: Voices, whole: np.ndarray, off: np.ndarray, code: int) -> tuple[float, float]:
    lost = _log_odds(off)[:, code] - _log_odds(whole)[:, code]
    own, others = lost[voices.truth == code], lost[voices.truth != code]
    return float(own.mean() - others.mean()), float(np.sqrt(own.var() / len(own) + others.var() / len(others)))


def _log_odds(logp: np.ndarray) -> np.ndarray:
    """Log-odds of each option among all, within ``CEILING``, from log-probabilities (clip, option)."""
    share = np.exp(logp - logp.max(axis=1, keepdims=True))
    share /= share.sum(axis=1, keepdims=True)
    return np.asarray(np.clip(np.log(share / np.maximum(1 - share, 1e-12) + 1e-12), -CEILING, CEILING))


def listen(planted: Planted, voices: Voices, path: Path) -> tuple[np.ndarray, Activity]:
    """Hear every clip once: log-probabilities (clip, emotion), and the activity store."""
    from emoscope.models.statistics import ScopeStatistics
    from emoscope.testing.old_path import AT_ONCE

    model, info = planted.model, planted.model.info
    norms, count = model.decoder.down_norms(), len(voices.rows)
    store = Activity.create(path, count, info.layers, info.width, norms, AT_ONCE)
    found = np.empty(voices.options.shape)
    for start in range(0, count, AT_ONCE):
        part = voices.rows[start : start + AT_ONCE]
        statistics = ScopeStatistics(info.layers, info.width, rows=len(part))
        logp = np.stack([each.logp for each in model.score(part, observe=statistics)])
        np.put_along_axis(found[start : start + AT_ONCE], voices.options[start : start + AT_ONCE], logp, axis=1)
        store.write(start, statistics.block())
    return found, store


def attribute(planted: Planted, voices: Voices, items: np.ndarray, store: Activity, scope: str) -> Activity:
    """Attribute some clips, and open the store that has this beside it, in place of another scope's."""
    from emoscope.testing.old_path import AT_ONCE

    parts, codes = "+".join(part for part in scope_parts(scope) if part != "answer"), range(len(voices.emotions))
    given = list[dict[str, np.ndarray]]()
    for start in range(0, len(items), AT_ONCE):
        own = items[start : start + AT_ONCE].tolist()
        rows, orders = [voices.rows[item] for item in own], [voices.options[item].tolist() for item in own]
        letters = [[row.letters[order.index(code)] for code in codes] for row, order in zip(rows, orders, strict=True)]
        found = planted.model.attribute(rows, letters, parts)
        given.append({kind: getattr(found, kind) for kind in KINDS})
    values = {kind: np.concatenate([part[kind] for part in given], axis=-3) for kind in KINDS}
    folder = store.path.parent / FOLDER
    folder.mkdir(exist_ok=True)
    save(folder / "0.safetensors", items.tolist(), voices.emotions, "benchmark", parts, values)
    return Activity.open(store.path)


def rank(
    planted: Planted, voices: Voices, answers: np.ndarray, store: Activity, names: Sequence[str]
) -> tuple[pl.DataFrame, int]:
    """Score every neuron by every selector, from as many correct clips of each emotion.

    Returns:
        a row a selector, scope, emotion and neuron that is written, or among the best ``WIDE`` of all; and how many clips.
    """
    right = [
        np.flatnonzero((answers.argmax(1) == voices.truth) & (voices.truth == c)) for c in range(len(voices.emotions))
    ]
    count = min(map(len, right))
    if not count:
        return pl.DataFrame(), 0
    items = np.concatenate([own[:count] for own in right])
    written = planted.flat(planted.neurons)
    wide, tables = round(WIDE * store.neurons), []
    order = tie_order(np.arange(store.neurons), 0)
    speakers = np.unique(voices.speakers, return_inverse=True)[1][items]
    selection = Selection("all", items, np.repeat(np.arange(len(right)), count), voices.emotions, speakers)
    for scope in SCOPES:
        if needs_gradients(names):
            store = attribute(planted, voices, items, store, scope)
        plan = SelectionPlan(store, [selection], scope)
        found = [find_selector(name) for name in names]
        needs = {need: [0] for selector in found for need in selector.needs}
        layers = [[selector(given) for selector in found] for (given,) in plan.statistics(needs)]
        for number, name in enumerate(names):
            scores = np.concatenate([layer[number] for layer in layers], axis=1)
            for code, emotion in enumerate(voices.emotions):
                place = np.empty(store.neurons, dtype=np.int64)
                place[np.lexsort((order, -scores[code]))] = np.arange(store.neurons)
                kept = np.union1d(written, np.flatnonzero(place < wide))
                columns = {"neuron": kept, "score": scores[code, kept], "rank": place[kept]}
                about = {"selector": name, "scope": scope, "emotion": emotion}
                tables.append(
                    pl.DataFrame(columns).with_columns(**{key: pl.lit(value) for key, value in about.items()})
                )
    return pl.concat(tables), count


def score(place: Path, seed: int) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Score the rankings of one model by its key; nothing for one that does not hold."""
    card = _card(place)
    if card["failed"] or not card["clips"]:
        return pl.DataFrame(), pl.DataFrame()
    key, ranks = pl.read_parquet(place / "key.parquet"), pl.read_parquet(place / "ranks.parquet")
    width, neurons = card["width"], card["layers"] * card["width"]
    scores: list[Row] = []
    chosen: list[Row] = []
    for (selector, scope, emotion), group in ranks.group_by("selector", "scope", "emotion", maintain_order=True):
        about = {"seed": seed, "selector": selector, "scope": scope, "emotion": emotion}
        about["two_hop"] = emotion == card["two_hop"]
        known = group.join(key.rename({"emotion": "whose"}), on="neuron").sort("rank")
        own = ((pl.col("whose") == emotion) & (pl.col("counts") == "causal")).fill_null(False)
        known = known.with_columns(causal=own, depends=pl.col("counts") == "depends")
        causes = known.filter("causal")
        if causes.is_empty():
            continue
        judged = known.filter(~pl.col("depends"))
        budget, widest = len(causes), round(WIDE * neurons)
        first, wide = known.head(budget), group.filter(pl.col("rank") < widest)
        where = wide["neuron"] // width
        silent = known.filter((pl.col("kind") == "silent") & (pl.col("whose") == emotion))["rank"].to_numpy()
        before = causes["rank"].to_numpy()[:, None] < silent
        scores.append(about | {
            "causal": budget, "average_precision": average_precision(judged["score"].to_numpy(), judged["causal"].to_numpy()),
            "chance": budget / len(judged), "precision": first["causal"].mean(), "depends": first["depends"].mean(),
            "in_wide": causes.filter(pl.col("rank") < widest).height / budget,
            "native_in_wide": 1 - wide.join(key, on="neuron").height / max(1, wide.height),
            "over_silent": float(before.mean()) if before.size else None, "layer": float(where.is_in((causes["neuron"] // width).unique().to_list()).mean() or 0.0),
            "layer_chance": (causes["neuron"] // width).n_unique() / card["layers"],
        })  # fmt: skip
        for (kind, whose), part in known.group_by(
            "kind", pl.col("whose").eq_missing(pl.lit(emotion)), maintain_order=True
        ):
            taken = part.filter(pl.col("neuron").is_in(first["neuron"].to_list())).height
            chosen.append(about | {"kind": kind, "own": whose, "chosen": taken, "of": part.height, "budget": budget})
    return pl.DataFrame(scores), pl.DataFrame(chosen)


def average_precision(scores: np.ndarray, wanted: np.ndarray) -> float:
    """Mean over the wanted of the precision at their score; equal scores are taken together, as in scikit-learn.

    Example:
        >>> average_precision(np.array([3.0, 2.0, 2.0, -np.inf]), np.array([True, True, False, False])).__round__(3)
        0.833
    """
    values, group = np.unique(-scores, return_inverse=True)
    hits = np.bincount(group, wanted, len(values))
    precision = hits.cumsum() / np.bincount(group, minlength=len(values)).cumsum()
    return float((precision * hits).sum() / wanted.sum())


def summary(scores: pl.DataFrame) -> pl.DataFrame:
    """For each selector and scope: means over models, with 95 % intervals of the average precision over models."""
    numbers = pl.exclude("emotion", "two_hop", "causal").mean()
    means = scores.group_by("selector", "scope", "seed", maintain_order=True).agg(numbers)
    half = 1.96 * pl.col("average_precision").std() / pl.len().sqrt()
    found = means.group_by("selector", "scope", maintain_order=True).agg(
        pl.len().alias("models"), half.alias("half"), pl.exclude("selector", "scope", "seed").mean()
    )
    middle = pl.col("average_precision")
    return found.with_columns(low=middle - pl.col("half"), high=middle + pl.col("half")).drop("half")


def failures(out: Path, seeds: Iterable[int]) -> Iterator[tuple[int, Mapping[str, object]]]:
    """The models that do not hold, with their recalls."""
    for seed in seeds:
        card = _card(out / f"seed-{seed:03}")
        if card["failed"] or not card["clips"]:
            yield seed, {"failed": card["failed"], **card["recalls"]}


def benchmark(out: Path, count: int, selectors: Sequence[str], show: str) -> int:
    """Run so many models, print what was found, and write ``kinds.png`` and ``summary.csv``: 0, the exit code."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    if count < 1:
        raise ValueError(f"--seeds {count}: give at least 1")
    seeds, console = range(count), Console()
    with contextlib.closing(Log(show)) as log:
        scores, chosen = run_benchmark(out, seeds, selectors, log)
    for seed, why in failures(out, seeds):
        console.print(f"Seed {seed} is left out: {why}.", highlight=False, soft_wrap=True)
    if scores.is_empty():
        return 0
    found = summary(scores)
    found.write_csv(out / "summary.csv")
    heads = "average precision", "95 % interval", "chance", "precision", "over silent", "best 5 %", "layers (chance)"
    table = Table("selector", "positions", *heads, title=f"{scores['seed'].n_unique()} models", box=box.SIMPLE_HEAD)
    for row in found.sort("scope", "average_precision", descending=[False, True]).iter_rows(named=True):
        shown = [f"{row[name]:.2f}" for name in ("average_precision", "chance", "precision", "over_silent", "in_wide")]
        between = f"{row['low']:.2f} to {row['high']:.2f}" if row["models"] > 1 else ""
        layers = f"{row['layer']:.2f} ({row['layer_chance']:.2f})"
        table.add_row(row["selector"], row["scope"], shown[0], between, *shown[1:], layers)
    console.print(table)
    draw(chosen, out / "kinds.png")
    console.print(f"Tables and chart: {out.resolve()}", highlight=False, soft_wrap=True)
    return 0


def draw(chosen: pl.DataFrame, path: Path) -> None:
    """Draw which kinds of written neurons each selector takes first: the share of each that is within the budget."""
    from emoscope.report.plots import heat
    from emoscope.report.theme import title, titled, to_png
    from emoscope.testing.planted import KINDS

    own = chosen.filter(scope=SCOPES[0]).filter(pl.col("own") | pl.col("kind").is_in(["loudness", "letter"]))
    shares = own.group_by("selector", "kind", maintain_order=True).agg(
        value=100 * pl.col("chosen").sum() / pl.col("of").sum()
    )
    kinds = [kind for kind in KINDS if kind in shares["kind"].to_list()]
    cells = shares.rename({"kind": "column", "selector": "row"})
    read = "Share of the neurons of each kind that stand among as many first written ones as the emotion has causes."
    chart = heat(cells, shares["selector"].unique(maintain_order=True).to_list(), kinds, "kind", "selector", "taken, %")
    path.write_bytes(to_png(titled(chart, title("Which written neurons a selector takes", read))))
