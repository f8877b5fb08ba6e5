"""The causal oracle: single neurons of a finished run truly switched off and patched, beside what selectors foretold."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl

from emoscope import __version__
from emoscope.analysis.load import read_run
from emoscope.analysis.oracle_tables import (
    TO,
    UNTOUCHED,
    UNTOUCHED_TESTED,
    Answers,
    area_table,
    conditions_of,
    measure_sets,
    oracle_table,
    rank_table,
    ranked_neurons,
    read_singles,
    set_table,
)
from emoscope.analysis.parts import Part, StudyRuns
from emoscope.experiments import record, stages
from emoscope.experiments.conditions import set_spec
from emoscope.experiments.intervene import Work, intervene, list_units, plan_work
from emoscope.experiments.items import options_of
from emoscope.experiments.products import MeasuredSets, Products, measure_products, prepare_inputs
from emoscope.experiments.schema import Row, Study
from emoscope.experiments.study import read_study
from emoscope.neurons.activity import Activity, scope_parts
from emoscope.neurons.candidates import Candidates, find_candidates
from emoscope.neurons.jobs import ALL
from emoscope.neurons.samples import place_in_draw
from emoscope.neurons.selectors import find_selector
from emoscope.neurons.variants import DRAWS, TENTHS, Variant, sizes_of, variants
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import FORMAT, digest, refuse_study
from emoscope.runs.shards import locked
from emoscope.schemas import as_table
from emoscope.vocabulary import DEACTIVATE, KEEP, PATCH, USED

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM

TABLES = ("oracle", "oracle_ranks", "oracle_sets", "oracle_areas")

FOLDER = "oracle"
"""In the run's folder: a run of its own, with its items, conditions, answers and units."""


@dataclass(frozen=True)
class Wanted:
    """How much is asked."""

    best: int = 100  # neurons of every selector, emotion and fold
    sampled: int = 200  # neurons drawn from all of the decoder
    clips: int = 100  # clips of each emotion, at most
    selectors: tuple[str, ...] = ()  # emoscope's and the study's, where none is named


@dataclass(frozen=True)
class Source:
    """The finished run whose neurons are asked about, one by one."""

    run: RunFolder
    study: Study
    wanted: Wanted
    items: pl.DataFrame  # those that are asked
    sides: bool  # whether the study fixes which clips identify and which test
    manifest: Mapping[str, Any] = field(repr=False)

    @classmethod
    def of(cls, folder: str | Path, wanted: Wanted) -> Source:
        """Read a finished run, or a part of a study.

        Raises:
            ValueError: it is not finished, holds several parts, or ended without sets.
        """
        refuse_study(folder)
        run = RunFolder(folder)
        manifest = run.read_json("manifest.json")
        if not manifest or "ended" in manifest:
            raise ValueError(f"{run.path} is no finished run with sets: `emoscope run` finishes it")
        study = read_study(run / "study.toml", imports=False).with_budget(manifest["headline"]["budget"])
        items = run.read_table("items").filter(pl.col("status") == USED).sort("item")
        sides = "both" not in items["side"].to_list()
        # of fixed sides those that identify are asked, too: the oracle is a selector
        asked = items.filter(pl.col("evaluated") | (pl.col("side") == "identify"))
        asked = asked.with_columns(pl.col("fold").fill_null(ALL))
        return cls(run, study, wanted, chosen_clips(asked, wanted.clips, study.seed), sides, manifest)

    @cached_property
    def size(self) -> int:
        """How many neurons the headline's sets hold."""
        assert self.study.headline.budget is not None
        return max(1, round(self.study.headline.budget * Activity.open(self.run / "activity.zarr").neurons))

    @cached_property
    def candidates(self) -> Candidates:
        """The neurons that are asked about, with every selector's scores, from the stored activity."""
        activity = Activity.open(self.run / "activity.zarr")
        items = self.run.read_table("items").filter(pl.col("status") == USED)
        spec = set_spec(self.study, options_of(items), 0)
        best = max(self.wanted.best, self.size)
        return find_candidates(activity, items, spec, self.wanted.selectors, best, self.wanted.sampled)

    @property
    def positions(self) -> str:
        """Where neurons are patched: the positions of the prompt that the study's scope counts."""
        scope = self.study.identify.scope
        parts = [part for part in scope_parts(scope) if part != "answer"]
        return "all" if scope == "all" or not parts else "+".join(parts)

    @property
    def asked(self) -> str:
        """Hash of all that decides what is found."""
        clips = self.items.select("item", "clip").rows()
        known = [__version__, self.manifest["candidates"], self.manifest["model"], clips]
        return digest([msgspec.to_builtins(self.study), msgspec.to_builtins(self.wanted), known])


def chosen_clips(items: pl.DataFrame, most: int, seed: int) -> pl.DataFrame:
    """The items of so many clips of each emotion (and side), of the same speakers for all, as evenly as can be.

    Example:
        >>> items = pl.DataFrame({"item": range(4), "clip": list("abcd"), "speaker": list("stts"), "side": ["both"] * 4,
        ...     "truth": ["fear", "fear", "anger", "anger"]})
        >>> len(set(chosen_clips(items, 1, 0)["speaker"]))
        1
    """
    clips = items.unique("clip", keep="first", maintain_order=True).select("clip", "speaker", "truth", "side")
    clips = clips.with_columns(who=pl.coalesce("speaker", "clip"))
    places = {
        f"{name}_place": pl.Series([place_in_draw(seed, each)[0] for each in clips[name]], dtype=pl.String)
        for name in ("clip", "who")
    }
    ordered = clips.with_columns(**places).sort("clip_place")
    ordered = ordered.with_columns(turn=pl.int_range(pl.len()).over("who", "truth", "side"))
    kept = ordered.sort("turn", "who_place", "clip_place").group_by("truth", "side", maintain_order=True).head(most)
    return items.filter(pl.col("clip").is_in(kept["clip"].to_list()))


COMMON: dict[str, Any] = {
    "layers": "all",
    "generated": False,
    "headline": False,
    "role": "other selector",
    "positions": "all",
}
"""What all conditions here say."""

NOTHING = COMMON | {"condition": UNTOUCHED, "kind": DEACTIVATE, "set": UNTOUCHED, "to": "zero"}


def single_conditions(source: Source) -> list[Row]:
    """The untouched model, and every neuron by itself under every kind of change."""
    rows: list[Row] = [NOTHING]
    for kind in TO:
        about = COMMON | {"kind": kind, "to": TO[kind]} | ({"positions": source.positions} if kind == PATCH else {})
        neurons = source.candidates.neurons.tolist()
        rows += [about | {"condition": f"{kind}/{neuron}", "set": str(neuron)} for neuron in neurons]
    return rows


def set_conditions(cuts: Sequence[Variant], emotions: Sequence[str]) -> list[Row]:
    """Sets cut from ranked neurons, each emotion's by itself."""
    rows = list[Row]()
    for cut in cuts:
        for emotion, name in zip(emotions, conditions_of(cut, emotions), strict=True):
            kind = name.partition("/")[0]
            about = {"kind": kind, "to": "mean" if kind == KEEP else "zero", "target": emotion}
            rows.append(COMMON | about | {"condition": name, "set": cut.name, "selector": cut.selector})
    return rows


@dataclass
class Asking:
    """A model that is asked about a source, in a folder of the run's."""

    source: Source
    run: RunFolder
    model: AudioLM
    log: Log
    products: Products
    partners: np.ndarray
    own_partners: int  # how many items are patched from clips of their own speaker
    proofs: tuple[record.Proof, ...]
    conditions: list[Row] = field(default_factory=list)
    units: list[Work] = field(default_factory=list)

    @classmethod
    def begin(cls, source: Source, log: Log) -> Asking:
        """Load the model, prove it, and keep what every condition needs."""
        run, study = RunFolder(source.run / FOLDER, create=True), source.study
        (run / "manifest.json").unlink(missing_ok=True)
        model = stages.load(study.model, log)
        waiting = source.items.with_columns(pl.lit(None, dtype=pl.String).alias("status"))
        proofs = record.prove_model(run, waiting, study.corpus.loudness, model, log)
        # of fixed sides both are asked
        items = source.items.with_columns(pl.lit("both").alias("side"), evaluated=True)
        run.write_table("items", items)
        rows = items.to_dicts()
        prepare_inputs(run, study, rows, model, log)
        products = measure_products(run, study, rows, source.candidates.neurons, source.positions, model, log)
        partners, own = products.partners(items)
        if own < len(items):
            log.say(f"{len(items) - own} of {len(items)} items have no speaker with another emotion: patched from all.")
        return cls(source, run, model, log, products, partners, own, proofs)

    def ask(
        self, rows: Sequence[Row], sets: Mapping[str, Mapping[str, Mapping[str, np.ndarray]]], items: pl.DataFrame
    ) -> Answers:
        """Ask conditions, or those that are left of them, and read the answers.

        Args:
            sets: set -> fold -> emotion -> its neurons.
        """
        table = as_table("conditions", rows)
        chosen = {(name, fold): own for name, by_fold in sets.items() for fold, own in by_fold.items()}
        means = Activity.open(self.source.run / "activity.zarr").mean_product().astype("float32").ravel()
        acting = MeasuredSets(chosen, self.model.info, means, products=self.products, partners=self.partners)
        work = plan_work(self.source.study, items, table, acting, self.model)
        self.conditions += rows
        self.units += work
        self.run.write_table("conditions", as_table("conditions", self.conditions))
        self.run.write_table("units", list_units(self.units, ()))
        before = self.model.decoder.fingerprint()
        intervene(self.run, self.source.study, work, acting, self.model, self.log)
        record.prove_weights(before, self.model)
        self.run.write_json("manifest.json", self.manifest)
        return Answers.of(read_run(self.run.path), self.source.items, self.source.candidates)

    def ask_singles(self) -> Answers:
        """Ask about every neuron by itself."""
        alone = {str(n): {"": np.array([n])} for n in self.source.candidates.neurons.tolist()}
        every, items = {UNTOUCHED: {"": np.arange(0)}, **alone}, self.run.read_table("items")
        folds = items["fold"].unique().to_list()
        return self.ask(
            single_conditions(self.source), {name: dict.fromkeys(folds, of) for name, of in every.items()}, items
        )

    def ask_sets(self, cuts: Sequence[Variant]) -> Answers:
        """Ask about sets of several neurons, on the clips that test."""
        rows, sets = set_conditions(cuts, self.source.candidates.emotions), {cut.name: cut.sets for cut in cuts}
        tests = self.source.items.filter(pl.col("side") != "identify")["item"].to_list()
        items = self.run.read_table("items").filter(pl.col("item").is_in(tests))
        if self.source.sides:
            rows = [NOTHING | {"condition": UNTOUCHED_TESTED}, *rows]
            nothing = {"": np.arange(0)}
            sets[UNTOUCHED] = dict.fromkeys(self.source.candidates.folds, nothing)
        return self.ask(rows, sets, items)

    @property
    def manifest(self) -> dict[str, Any]:
        """What was asked of which model, and how many items are patched from clips of their own speaker."""
        study, wanted = (msgspec.to_builtins(value) for value in (self.source.study, self.source.wanted))
        about = {"format": FORMAT, "emoscope": __version__, "model": msgspec.to_builtins(self.model.info)}
        about |= {"study": study, "oracle": wanted, "proofs": self.proofs, "environment": record.environment()}
        return about | {"patched_from_own_speaker": self.own_partners, "positions": self.source.positions}

    @cached_property
    def written(self) -> np.ndarray:
        """How much each neuron writes: its mean absolute product times the norm of its column; float64 (neuron,)."""
        return self.products.magnitude * Activity.open(self.source.run / "activity.zarr").down_norm.ravel()


def run_oracle(folder: str | Path, wanted: Wanted | None = None, log: Log | None = None) -> StudyRuns:
    """Switch off, and patch, single neurons of a finished run; compare with what selectors foretold, also in sets.

    What was asked before is not asked again: a call that was stopped goes on where it was. Tables ``oracle``,
    ``oracle_ranks``, ``oracle_sets`` and ``oracle_areas`` are written into the run's folder.

    Returns:
        the run, with these tables.

    Raises:
        ValueError: the run is not finished.
        ProofFailed: a check of the model failed.
    """
    source, log = Source.of(folder, wanted or Wanted()), log or Log("quiet")
    with locked(source.run.path):
        done = source.run.read_json(f"{FOLDER}/manifest.json") or {}
        if done.get("asked") != source.asked or any(not (source.run / f"{name}.parquet").is_file() for name in TABLES):
            asking = Asking.begin(source, log)
            tables = _asked(source, asking)
            for name, table in zip(TABLES, tables, strict=True):
                source.run.write_table(name, table)
            asking.run.write_json("manifest.json", {**asking.manifest, "asked": source.asked})
    return StudyRuns.alone(Part.alone(read_run(source.run.path)))


def _asked(source: Source, asking: Asking) -> tuple[pl.DataFrame, ...]:
    """Ask about single neurons, then about sets cut from ranked ones, and arrange what was found as :data:`TABLES`."""
    known, info, head = source.candidates, asking.model.info, source.study.headline.selector
    answers = asking.ask_singles()
    singles = list(read_singles(answers, known, list(TO)))
    neurons = oracle_table(known, singles, info.width), rank_table(known, singles)
    ranked = ranked_neurons(known, singles, [name for name in known.selectors if find_selector(name).one_list])
    equal = head if head in ranked else next(iter(ranked))
    cuts = variants(ranked, equal, source.size, asking.written, info.width, source.study.seed)
    answers = asking.ask_sets(cuts)
    measured, sizes = measure_sets(answers, known, cuts, asking.written), answers.clips.sizes
    return *neurons, set_table(measured, sizes), area_table(measured, sizes)


def show_plan(folder: str | Path, wanted: Wanted) -> None:
    """Say how many answers the oracle takes, and how long the run's own took."""
    source = Source.of(folder, wanted)
    known, items, kinds = source.candidates, len(source.items), len(TO)
    singles = len(known.neurons) * kinds
    named = len([name for name in known.selectors if not find_selector(name).one_list]) + kinds
    # of random sets all sizes and one of equal activity; of others also alone, less and more a tenth
    sets = len(known.emotions) * (len(sizes_of(source.size)) + 1) * (named + DRAWS)
    sets += len(known.emotions) * named * (1 + 2 * DRAWS + min(TENTHS, source.size))
    print(f"{len(known.neurons):,} neurons x {items:,} items x {kinds} (off, patched): {singles * items:,} answers.")
    tests = source.items.filter(pl.col("side") != "identify").height
    print(f"{sets:,} sets x {tests:,} items: {sets * tests:,} answers.")
    seconds = seconds_each(source.run)
    if seconds is None:
        print("How long an answer takes is not known: the run has no log.")
    else:
        whole = (singles * items + sets * tests) * seconds
        print(f"At {seconds:.3g} s an answer, as in the run under interventions: {whole / 3600:.2g} hours.")


def seconds_each(run: RunFolder) -> float | None:
    """How long an answer under an intervention took in a run, by its log; ``None`` where that says nothing."""
    path, spent, answers = run / "log.jsonl", 0.0, 0
    for line in path.read_text(encoding="utf-8").splitlines() if path.is_file() else ():
        event = json.loads(line)
        if event["event"] == "unit" and (event["stage"], event.get("scoring")) == ("intervening", "likelihood"):
            spent, answers = spent + event["seconds"], answers + event["answers"]
    return spent / answers if answers else None
