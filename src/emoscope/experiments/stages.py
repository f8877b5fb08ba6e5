"""The stages of a study, each from what the one before stored, and the manifest."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import TYPE_CHECKING, Any

import msgspec

from emoscope.experiments.items import study_corpus
from emoscope.experiments.manifest import (
    candidates_digest,
    clip_counts,
    corpus_card,
    environment,
    options_of,
    prove_model,
    prove_weights,
    timing,
)
from emoscope.experiments.study import Study, to_toml
from emoscope.runs import Log, RunFolder, Shard
from emoscope.runs.folder import FORMAT, digest, replacing
from emoscope.runs.shards import named

if TYPE_CHECKING:
    import polars as pl

    from emoscope.corpora import Corpus
    from emoscope.experiments.conditions import SetsByFold
    from emoscope.experiments.intervene import Work
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.selection import FoundSets, NotIdentifiable

SHOWN = "cache/shown.json"
"""From what tables and report were last made: while that stays, drawing them again would change nothing."""


def told_without_sets(why: NotIdentifiable, items: pl.DataFrame, span: str = "") -> str:
    """What the model can do, why no neurons are looked for, and what helps: a lower minimum only where there is something.

    Args:
        why: what was raised.
        items: the settled items table.
        span: the interval of the UAR in words, if there is one.
    """
    from emoscope.experiments.pilot import heard_level

    above, level = heard_level(items, span)
    reached = sorted(why.counts.values())[-2] if len(why.counts) > 1 else 0
    if above:
        lower = f", or lower identify.minimum ({reached} would do for two emotions)" if reached > 1 else ""
        remedy = f"add clips{lower}"
    else:
        remedy = "try another wording, model or corpus: with fewer clips neurons would be found from lucky answers"
    return f"{level}; {why}; {remedy}"


def _is_shown(run: RunFolder, with_report: bool) -> bool:
    return (run / "tables" / "effects.parquet").is_file() and (not with_report or (run / "report.html").is_file())


@dataclass
class Pipeline:
    """One study in its run folder; each stage reads what the one before stored.

    Args:
        study: what is asked.
        run: where everything is kept.
        log: progress and events.
        model: a loaded model; loaded from the study when it is first needed otherwise.
        corpus: the clips that are asked about (:func:`~emoscope.experiments.items.study_corpus`); opened from the study
            otherwise.
        stored: the study as its folder keeps it; ``study`` otherwise.
        proofs: checks of the model, as they came out.
        known_items: the settled items, once they are known.
        candidates: hash of the clips, questions and folds that were found.
        heard_units: units that hold the baseline answers.
        weights: hash of the weights on which gains act, before the first intervention.
        full: the study of which this one is a pilot, if it is one.
        no_null: why the numerical null was not asked; empty where it was.
        selects: whether neurons are found here; otherwise only sets of other parts act.
        dealt: clip -> fold, where another part of the study has dealt the folds.
        foreign: sets that other parts of the study found.
        steer_foreign: whether these are steered, too.
        proved: the proofs of another part with the same model, which are not made again.
    """

    study: Study
    run: RunFolder
    log: Log
    model: AudioLM | None = None
    corpus: Corpus | None = None
    stored: Study | None = None
    proofs: list[dict[str, Any]] = field(default_factory=list)
    known_items: pl.DataFrame | None = None
    candidates: str = ""
    heard_units: list[str] = field(default_factory=list)
    weights: str | None = None
    full: Study | None = None
    no_null: str = ""
    selects: bool = True
    dealt: Mapping[str, str] = field(default_factory=dict)
    foreign: FoundSets | None = None
    steer_foreign: bool = True
    proved: list[dict[str, Any]] | None = None

    def __post_init__(self) -> None:
        self.asked = self.study

    def loaded(self) -> AudioLM:
        """The model, loaded once, with the study's budget filled in."""
        if self.model is None:
            choice = self.study.model
            with self.log.stage("loading model", 3) as progress:
                # three steps, as the two libraries take seconds to import
                import torch  # noqa: F401

                progress.step()
                from emoscope.models.registry import load_model

                progress.step()
                self.model = load_model(
                    choice.id, dtype=choice.dtype, device=choice.device, revision=choice.revision or None,
                    attention=choice.attention, side=choice.side, device_map=choice.device_map or None,
                    quantise=choice.quantise or None,
                )  # fmt: skip
                progress.step()
        self.study = self.study.with_budget(self.model.info.recommended_budget)
        return self.model

    def listen(self, shard: Shard | None = None) -> pl.DataFrame:
        """List the items, check the model, hear the items, or a share of them; returns the settled items table."""
        from emoscope.experiments.conditions import layer_ranges
        from emoscope.experiments.heard import refuse_changes
        from emoscope.experiments.items import candidate_items
        from emoscope.experiments.listen import listen
        from emoscope.experiments.splits import folds_dealt_before
        from emoscope.experiments.terminal import told_as_heard

        self.asked = self.study
        # the corpus first: a mistake in it is said before a large model is loaded
        trained_on = self.model.info.trained_on if self.model else self.study.card().trained_on
        corpus = self.corpus or study_corpus(self.study, trained_on)
        dealt = {**folds_dealt_before(self.run, self.study), **self.dealt}
        candidates = candidate_items(self.study, corpus, self.log, dealt)
        model = self.loaded()
        layer_ranges(self.study.interventions.layers, model.info.layers)  # a range that is not there is said first
        # before the first file is written: a run that is refused stays as it was
        refuse_changes(self.run, model.info, candidates.filter(candidates["fate"].is_null()).to_dicts())
        with replacing(self.run / "study.toml") as partial:
            partial.write_text(to_toml(self.stored or self.asked), encoding="utf-8")
        (self.run / "manifest.json").unlink(missing_ok=True)
        self.candidates = candidates_digest(candidates)
        self.weights = model.decoder.fingerprint()
        if self.proved is None:
            self.proofs = prove_model(self.run, candidates, self.study.corpus.loudness, model, self.log)
        else:
            self.proofs = self.proved
        self.known_items, self.heard_units = listen(self.run, self.study, candidates, model, self.log, shard)
        told = told_as_heard(self.run, self.known_items, self.heard_units)
        for sentence in told if self.proved is None else ():  # a main part has told of the clips of further parts
            self.log.say(f"{sentence}.")
        self.corpus = dataclasses.replace(corpus, told=(*corpus.told, *told))
        if shard is None:
            self.run.write_table("items", self.known_items)
        return self.known_items

    def find_sets(self) -> FoundSets:
        """Find the sets and their controls from the stored activity, without the model."""
        from emoscope.experiments.conditions import ranges_to_reselect
        from emoscope.neurons.activity import Activity
        from emoscope.neurons.selection import SetSpec, find_sets

        study, items = self.study, self.items
        activity = Activity.open(self.run / "activity.zarr")
        assert study.headline.budget is not None
        spec = SetSpec(
            emotions=tuple(options_of(items)), selectors=study.identify.selectors,
            budgets=study.identify.budgets, scope=study.identify.scope, site=study.identify.site,
            items_per_emotion=study.identify.items_per_emotion, minimum=study.identify.minimum,
            matched=study.controls.matched, random=study.controls.random, shuffled=study.controls.shuffled,
            headline=(study.headline.selector, study.headline.budget), seed=study.seed, label=study.identify.label,
            floor=study.identify.lape_floor, common_size=study.identify.compare_at_common_size,
            sizes=study.identify.sizes, size_draws=study.identify.size_draws,
            balance_letters=study.identify.balance_letters, outcomes=study.controls.outcomes,
            ranges=ranges_to_reselect(study, activity.layers),
        )  # fmt: skip
        return find_sets(activity, items.filter(items["fate"] == "used"), spec)

    def select(self) -> FoundSets:
        """Find the sets, and say how long it took."""
        if not self.selects:
            return self.nothing_found()
        began = time.monotonic()
        found = self.find_sets()
        spent = round(time.monotonic() - began, 3)
        self.log.seconds["selecting"] = round(self.log.seconds.get("selecting", 0.0) + spent, 3)
        self.log.event("selected", sets=found.frame.height, seconds=spent)
        return found

    def nothing_found(self) -> FoundSets:
        """No sets: where only sets of other parts act."""
        import numpy as np
        import polars as pl

        from emoscope.neurons.selection import COLUMNS, FoundSets

        info = self.loaded().info
        nothing = np.zeros(info.layers * info.width, dtype="float32")
        return FoundSets(pl.DataFrame(schema=COLUMNS), {}, {}, info.layers, info.width, nothing)

    def plan(self, found: FoundSets) -> tuple[pl.DataFrame, SetsByFold, list[Work]]:
        """The conditions, the sets on which they act, and the units in which they are asked."""
        from emoscope.experiments.conditions import plan_conditions
        from emoscope.experiments.intervene import plan_work, why_no_null

        model = self.loaded()
        foreign = self.foreign.frame if self.foreign else None
        conditions = plan_conditions(self.study, found.frame, model.info.layers, foreign, self.steer_foreign)
        self.no_null = why_no_null(self.run, self.study, self.items, model)
        if self.no_null:
            conditions = conditions.filter(conditions["kind"] != "null")
        sets = self.sets(found)
        return conditions, sets, plan_work(self.study, self.items, conditions, sets, model)

    def intervene(self, found: FoundSets) -> pl.DataFrame:
        """Run every condition on every block of evaluated items; returns the conditions."""
        from emoscope.experiments.intervene import intervene, list_units

        conditions, sets, work = self.plan(found)
        self.run.write_table("conditions", conditions)
        self.run.write_table("units", list_units(work, self.heard_units))
        intervene(self.run, self.study, work, sets, self.loaded(), self.log)
        if found.sets:
            self.write_words(found)
        return conditions

    def intervene_share(self, found: FoundSets, shard: Shard) -> None:
        """Run one shard's units and say what is left; tables and report are left to a call without a shard."""
        from emoscope.experiments.intervene import intervene, owners

        _, sets, work = self.plan(found)
        owner = owners(work, shard)
        mine = [one for one in work if owner[one.unit.id] == shard]
        intervene(self.run, self.study, mine, sets, self.loaded(), self.log)
        prove_weights(self.weights, self.loaded())
        left = [owner[one.unit.id] for one in work if not one.unit.done(self.run)]
        others = f"{len(left)} units of {named(left)} are left; when they are done, the" if left else "The"
        self.log.say(f"Share {shard} is done. {others} same command without --shard writes tables and report.")
        self.log.event("share done", shard=str(shard), units=len(mine), left=len(left))

    def sets(self, found: FoundSets) -> SetsByFold:
        """The sets as the conditions use them."""
        from emoscope.experiments.conditions import SetsByFold, layer_ranges

        info = self.loaded().info
        ranges = layer_ranges(self.study.interventions.layers, info.layers)
        sets = {**found.sets, **(self.foreign.sets if self.foreign else {})}
        return SetsByFold(sets, info, found.mean_product, self.baseline_shares(), ranges)

    def baseline_shares(self) -> dict[int, dict[str, float]]:
        """The untouched model's probability of each option, options adding up to 1: item -> option -> probability."""
        from emoscope.experiments.prompts import option_shares

        units = self.heard_units
        if not units and (self.run / "units.parquet").is_file():
            listed = self.run.read_table("units")
            units = listed.filter(listed["stage"] == "listen")["unit"].to_list()
        return option_shares([self.run.read_table(f"answers/{unit}") for unit in units], self.items)

    def write_words(self, found: FoundSets) -> None:
        """Write neurons.parquet: the output tokens that each headline neuron raises and lowers most."""
        from emoscope.experiments.measures import neuron_words

        head = self.study.headline
        mine = found.frame.filter(
            (found.frame["control"] == "target") & (found.frame["fold"] == "all")
            & (found.frame["selector"] == head.selector) & (found.frame["budget"] == head.budget)
        )  # fmt: skip
        with self.log.stage("reading what neurons write", int(mine["size_reached"].sum()), "neurons") as progress:
            table = neuron_words(self.loaded(), found, head.selector, head.budget, progress)
        self.run.write_table("neurons", table)

    @property
    def items(self) -> pl.DataFrame:
        """The settled items table."""
        if self.known_items is None:
            self.known_items = self.run.read_table("items")
        return self.known_items

    def test(self, found: FoundSets) -> None:
        """Run every condition on sets that were found, then write manifest, tables and, where it has sets, report."""
        from emoscope.analysis.tables import write_tables
        from emoscope.report.charts import FIGURES
        from emoscope.report.page import build_report

        run = self.run
        run.write_table("items", self.items)
        run.write_table("sets", found.frame)
        found.save_sets(run / "sets")
        if self.foreign:
            run.write_table("foreign_sets", self.foreign.frame)
        # what an earlier version of the study left says nothing about this one
        for name in (*(() if self.foreign else ("foreign_sets.parquet",)), "set_activity.parquet",
                     *(() if found.sets else ("neurons.parquet", "report.html"))):  # fmt: skip
            (run / name).unlink(missing_ok=True)
        self.intervene(found)
        manifest = self.manifest(found)
        shown = self._shown(manifest)
        if run.read_json(SHOWN) != shown or not _is_shown(run, bool(found.sets)):
            (run / SHOWN).unlink(missing_ok=True)
            with self.log.stage("writing tables and report", 1 + len(FIGURES)) as progress:
                run.write_json("manifest.json", {**manifest, "timing": timing(self.log)})
                tables = write_tables(run.path)
                progress.step()
                if found.sets:
                    build_report(run.path, tables, progress.step)
            run.write_json(SHOWN, shown)
        run.write_json("manifest.json", {**manifest, "timing": timing(self.log)})
        self.log.event("done", **timing(self.log))

    def end_without_sets(self, why: NotIdentifiable) -> None:
        """Write manifest, tables and report of what was heard, and let the error say what the model can do.

        Args:
            why: fewer than two emotions have enough correct clips; its message becomes the whole story.
        """
        from emoscope.analysis.tables import write_tables
        from emoscope.experiments.conditions import plan_conditions
        from emoscope.experiments.intervene import list_units
        from emoscope.report.page import build_report

        run, found = self.run, self.nothing_found()
        (run / SHOWN).unlink(missing_ok=True)
        conditions = plan_conditions(self.study, found.frame, found.layers)
        run.write_table("conditions", conditions.filter(conditions["kind"] == "baseline"))
        run.write_table("units", list_units([], self.heard_units))
        run.write_table("sets", found.frame)
        for name in ("foreign_sets.parquet", "set_activity.parquet", "neurons.parquet"):
            (run / name).unlink(missing_ok=True)
        counts: dict[str, int | str] = {
            emotion: f"not identifiable ({count} correct)" for emotion, count in why.counts.items()
        }
        manifest = self.manifest(dataclasses.replace(found, identifiable=counts))
        run.write_json("manifest.json", {**manifest, "ended": str(why), "timing": timing(self.log)})
        tables = write_tables(run.path)
        page = build_report(run.path, tables)
        level = tables.uar.filter(tables.uar["condition"] == "baseline").to_dicts()
        span = ""
        if level and level[0]["low"] is not None:
            span = f" (95 % {max(0, level[0]['low']):.0f} to {min(100, level[0]['high']):.0f})"
        why.args = (f"{told_without_sets(why, self.items, span)}. What was heard: {page.resolve()}",)

    def _shown(self, manifest: dict[str, Any]) -> dict[str, str]:
        """Hashes of what tables and report are made from: answers are named by what determines them."""
        files = sorted(path for path in self.run.path.glob("*.parquet") if path.is_file())
        return {
            "manifest": digest({name: part for name, part in manifest.items() if name != "environment"}),
            **{path.name: sha256(path.read_bytes()).hexdigest() for path in files},
        }

    def manifest(self, found: FoundSets) -> dict[str, Any]:
        """What was run, with what, and what every check measured."""
        from emoscope import __version__
        from emoscope.experiments.splits import shared_speakers
        from emoscope.neurons.selectors import own_code

        model = self.loaded()
        proofs = [*self.proofs, prove_weights(self.weights, model)]
        self.log.event("proof", **proofs[-1])
        return {
            "format": FORMAT,
            "emoscope": __version__,
            "model": {**msgspec.to_builtins(model.info), "site": self.study.identify.site},
            "corpora": [corpus_card(self.corpus)] if self.corpus else [],
            "study": msgspec.to_builtins(self.study),
            "headline": {**msgspec.to_builtins(self.study.headline), "scope": self.study.identify.scope},
            "emotions": options_of(self.items),
            "identifiable": dict(found.identifiable),
            **({"outcomes": found.outcomes} if found.outcomes else {}),
            "counts": clip_counts(self.items),
            "speakers_shared": len(shared_speakers(self.items)),
            "asked": digest(msgspec.to_builtins(self.asked)),
            "own_selectors": own_code(self.study.identify.selectors),
            "candidates": self.candidates,
            "proofs": proofs,
            **({"null": self.no_null} if self.no_null else {}),
            **({"pilot": self.pilot()} if self.full else {}),
            "environment": environment(),
        }

    def pilot(self) -> dict[str, Any]:
        """What this pilot says about its full study."""
        import polars as pl

        from emoscope.experiments.pilot import pilot_result

        assert self.full is not None
        units = self.heard_units
        if (self.run / "units.parquet").is_file():
            listed = self.run.read_table("units").filter(pl.col("condition") == "baseline")
            units = [*units, *listed.filter(~pl.col("unit").is_in(units))["unit"].to_list()]
        baseline = pl.concat([self.run.read_table(f"answers/{unit}") for unit in units])
        return pilot_result(self.run, self.full, self.items, baseline, self.loaded().info)
