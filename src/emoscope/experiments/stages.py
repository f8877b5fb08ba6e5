"""The stages of a study in one run folder: each takes what the one before returned, and returns a value of its own."""

from __future__ import annotations

import contextlib
import dataclasses
import gc
import os
import shutil
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from msgspec.structs import replace

from emoscope.experiments import record
from emoscope.experiments.attribute import attribute, refuse_model
from emoscope.experiments.conditions import layer_ranges, plan_conditions, set_spec
from emoscope.experiments.heard import refuse_changes, told_as_heard
from emoscope.experiments.in_turn import ask_in_turn, in_turns
from emoscope.experiments.intervene import SetsByFold, intervene, list_units, owners, plan_work, why_no_null
from emoscope.experiments.items import candidate_items, folds_assigned_before, options_of, study_corpus
from emoscope.experiments.listen import hear
from emoscope.experiments.pilot import told_without_sets
from emoscope.experiments.prompts import option_shares
from emoscope.experiments.record import Proof, timing
from emoscope.experiments.schema import Controls, Model, Study
from emoscope.experiments.study import check_study, read_study, to_toml
from emoscope.neurons import selection
from emoscope.neurons.activity import Activity
from emoscope.neurons.selection import COLUMNS, FoundSets
from emoscope.neurons.selectors import needs_gradients
from emoscope.runs import Log, RunFolder, Shard
from emoscope.runs.folder import SHOWN, digest, refuse_study, replacing
from emoscope.runs.shards import named
from emoscope.schemas import tables

if TYPE_CHECKING:
    from emoscope.corpora import Corpus
    from emoscope.experiments.intervene import Work
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.selection import NotIdentifiable

PAGES, ASIDE = ("report.html", "figures", "tables"), "cache/earlier"
"""What states numbers, and where it lies while a run goes on: it comes back where it still holds."""


@dataclass(frozen=True)
class Task:
    """What is to be run in one folder: a study, or a part of one."""

    study: Study
    run: RunFolder
    log: Log
    corpus: Corpus | None = None  # the clips that are asked about; opened from the study otherwise
    stored: Study | None = None  # the study as its folder keeps it; ``study`` otherwise
    full: Study | None = None  # the study of which this one is a pilot, if it is one
    selects: bool = True  # whether neurons are found here; otherwise only sets of other parts act
    ranks: bool = True  # whether neurons are ranked from what is heard here, be it for sets of other parts
    steers_transferred: bool = False  # whether sets of other parts are steered, too
    assigned: Mapping[str, str] = field(default_factory=dict)  # clip -> fold, as another part has assigned the folds
    proved: tuple[Proof, ...] | None = None  # proofs of another part with the same model, which are not made again


@dataclass(frozen=True)
class Listened:
    """What was heard in a run folder."""

    task: Task
    study: Study  # with the model's budget filled in
    model: AudioLM
    items: pl.DataFrame  # settled
    corpus: Corpus  # the clips, and what is told of them
    units: tuple[str, ...]  # those that hold the baseline answers
    candidates: str  # hash of the clips, questions and folds that were found
    proofs: tuple[Proof, ...]
    weights: str  # hash of the weights on which gains act, before the first intervention

    @property
    def run(self) -> RunFolder:
        """The run folder."""
        return self.task.run

    @property
    def headline(self) -> tuple[str, float]:
        """Selector and budget that the study claims."""
        assert self.study.headline.budget is not None
        return self.study.headline.selector, self.study.headline.budget


@dataclass(frozen=True)
class Selected:
    """The sets that were found, and those that other parts of the study found for this one."""

    listened: Listened
    found: FoundSets
    transferred: FoundSets | None = None


@dataclass(frozen=True)
class Planned:
    """The conditions, the sets on which they act, the units in which they are asked, and why there is no null.

    ``stopped`` says why further permuted draws were not asked.
    """

    conditions: pl.DataFrame
    sets: SetsByFold
    work: list[Work]
    no_null: str
    stopped: str = ""


def load(choice: Model, log: Log) -> AudioLM:
    """Load the model that a study names."""
    with log.stage("loading model", 3) as progress, _uncollected():
        # three steps, as the two libraries take seconds to import
        import torch  # noqa: F401

        progress.step()
        from emoscope.models.registry import load_model

        progress.step()
        given: dict[str, Any] = {name: getattr(choice, name) for name in ("dtype", "device", "attention", "side")}
        given |= {name: getattr(choice, name) or None for name in ("revision", "device_map", "quantise")}
        model = load_model(choice.id, **given)
        progress.step()
    return model


@contextlib.contextmanager
def _uncollected() -> Iterator[None]:
    """Without the search for cyclic garbage: it is a sixth of the time that libraries take to import, and finds none."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searched:
            gc.enable()


def begin(run: RunFolder, study: Study) -> None:
    """Write down what is run; until the end there is no manifest, and no page of what was run before."""
    with replacing(run / "study.toml") as partial:
        partial.write_text(to_toml(study), encoding="utf-8")
    # these hold of a finished run alone: `emoscope untrained` and `emoscope oracle` put them together again
    _forget(
        run, "manifest.json", *(tables()[name].file for name in tables() if name.startswith(("untrained", "oracle")))
    )
    for name in PAGES:
        if (run / name).exists():
            (run / ASIDE).mkdir(parents=True, exist_ok=True)
            with contextlib.suppress(OSError):  # another share was faster
                _remove(run / ASIDE / name)
                os.replace(run / name, run / ASIDE / name)


def settle_pages(run: RunFolder, hold: bool) -> None:
    """Put tables and pages where they were if they still hold, and remove them if not."""
    for name in PAGES if hold else ():
        if (run / ASIDE / name).exists() and not (run / name).exists():
            os.replace(run / ASIDE / name, run / name)
    _remove(run / ASIDE)


def _remove(path: Path) -> None:
    """Remove a file, or a folder with all that is in it, if it is there."""
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)


def listen(task: Task, model: AudioLM | None = None, shard: Shard | None = None) -> Listened:
    """List the items, check the model, hear the items, or a share of them."""
    study, run, log = task.study, task.run, task.log
    # the corpus first: a mistake in it is said before a large model is loaded
    corpus = task.corpus or study_corpus(study, model.info.trained_on if model else study.card().trained_on)
    candidates = candidate_items(study, corpus, log, {**folds_assigned_before(run, study), **task.assigned})
    model = model or load(study.model, log)
    study = study.with_budget(model.info.recommended_budget)
    layer_ranges(study.interventions.layers, model.info.layers)  # a range that is not there is said first
    refuse_model(study, model)
    # before the first file is written: a run that is refused stays as it was
    refuse_changes(run, model.info, candidates.filter(candidates["status"].is_null()).to_dicts())
    begin(run, task.stored or task.study)
    weights, proofs = model.decoder.fingerprint(), task.proved
    if proofs is None:
        gradients = needs_gradients(study.identify.selectors)
        proofs = record.prove_model(run, candidates, study.corpus.loudness, model, log, gradients)
    agree = partial(record.show_agreement, study=study, model=model)
    items, units = hear(run, study, candidates, model, log, agree, shard)
    if task.ranks:
        attribute(run, study, items, model, log, shard)
    told = told_as_heard(run, items, units)
    for sentence in told if task.proved is None else ():  # a main part has told of the clips of further parts
        log.say(f"{sentence}.")
    corpus = dataclasses.replace(corpus, told=(*corpus.told, *told))
    if shard is None:
        run.write_table("items", items)
    digested = record.candidates_digest(candidates)
    return Listened(task, study, model, items, corpus, tuple(units), digested, proofs, weights)


def find_sets(run: RunFolder, study: Study, items: pl.DataFrame) -> FoundSets:
    """Find the sets and their controls from the stored activity, without the model."""
    activity = Activity.open(run / "activity.zarr")
    spec = set_spec(study, options_of(items), activity.layers)
    return selection.find_sets(activity, items.filter(items["status"] == "used"), spec)


def reselect(run: Path, selector: str, budget: float | None, scope: str | None, out: Path | None) -> FoundSets:
    """Find the sets of one selector in a run folder and save them, in its ``sets`` where ``out`` is not given.

    The budget (share of all neurons per emotion) and the scope are the run's own where they are not given.
    """
    refuse_study(run)
    folder = RunFolder(run)
    study = read_study(folder / "study.toml", imports=False)
    if budget is None:
        kept = (folder.read_json("manifest.json") or {}).get("headline", {})
        budget = kept.get("budget") or study.headline.budget or study.card().recommended_budget
    identify, scope = study.identify, scope or study.identify.scope
    study = replace(
        study,
        identify=replace(identify, selectors=(selector,), budgets=(budget,), sizes=(), scope=scope),
        headline=replace(study.headline, selector=selector, budget=budget),
        controls=Controls(matched=0, random=0, shuffled=0, orthogonal=0),
    )
    check_study(study, str(folder / "study.toml"))
    found = find_sets(folder, study, folder.read_table("items"))
    found.save_sets(out or folder / "sets")
    return found


def select(listened: Listened) -> Selected:
    """Find the sets, and say how long it took."""
    if not listened.task.selects:
        return nothing_found(listened)
    log, began = listened.task.log, time.monotonic()
    found = find_sets(listened.run, listened.study, listened.items)
    spent = round(time.monotonic() - began, 3)
    log.seconds["selecting"] = round(log.seconds.get("selecting", 0.0) + spent, 3)
    log.event("selected", sets=found.frame.height, seconds=spent)
    return Selected(listened, found)


def nothing_found(listened: Listened) -> Selected:
    """No sets: where only sets of other parts act."""
    info = listened.model.info
    nothing = np.zeros(info.layers * info.width, dtype="float32")
    return Selected(listened, FoundSets(pl.DataFrame(schema=COLUMNS), {}, {}, info.layers, info.width, nothing))


def plan(selected: Selected) -> Planned:
    """List the conditions and the units in which they are asked."""
    heard, transferred = selected.listened, selected.transferred.frame if selected.transferred else None
    study, items, model = heard.study, heard.items, heard.model
    steers, no_null = heard.task.steers_transferred, why_no_null(heard.run, study, items, model)
    conditions = plan_conditions(study, selected.found.frame, model.info.layers, transferred, steers)
    if no_null:
        conditions = conditions.filter(conditions["kind"] != "null")
    sets = sets_by_fold(selected)
    return Planned(conditions, sets, plan_work(study, items, conditions, sets, model), no_null)


def sets_by_fold(selected: Selected) -> SetsByFold:
    """The sets as the conditions use them, with the untouched model's probability of each option."""
    heard, found, transferred = selected.listened, selected.found, selected.transferred
    ranges = layer_ranges(heard.study.interventions.layers, heard.model.info.layers)
    shares = option_shares(heard.run.answers(heard.units), heard.items)
    sets = {**found.sets, **(transferred.sets if transferred else {})}
    return SetsByFold(sets, heard.model.info, found.mean_product, shares, ranges)


def ask_conditions(selected: Selected) -> Planned:
    """Run every condition on every block of evaluated items, and read what the headline's neurons write."""
    heard, planned = selected.listened, plan(selected)
    heard.run.write_table("conditions", planned.conditions)
    heard.run.write_table("units", list_units(planned.work, heard.units))
    always, later = in_turns(planned.work, heard.study)
    intervene(heard.run, heard.study, always, planned.sets, heard.model, heard.task.log)
    if later:
        planned = ask_in_turn(heard, planned, always, later)
    heard.run.settle(heard.units, [part.unit.id for part in planned.work])
    if selected.found.sets:
        record.write_words(heard.run, heard.model, selected.found, heard.headline, heard.task.log)
    return planned


def act(selected: Selected, shard: Shard | None = None) -> None:
    """Run every condition on sets that were found, then write manifest, tables and, where it has sets, report.

    Of a shard only its units are run; the rest is left to a call without a shard.
    """
    if shard is not None:
        _act_share(selected, shard)
        return
    heard, found, transferred = selected.listened, selected.found, selected.transferred
    run, log = heard.run, heard.task.log
    run.write_table("items", heard.items)
    run.write_table("sets", found.frame)
    found.save_sets(run / "sets")
    if transferred:
        run.write_table("transferred_sets", transferred.frame)
    _forget(run, "set_activity.parquet", *([] if transferred else ["foreign_sets.parquet", "transferred_sets.parquet"]))
    _forget(run, *([] if found.sets else ["neurons.parquet", "report.html"]))
    manifest = record.run_manifest(selected, ask_conditions(selected))
    shown = _shown(run, manifest)
    settle_pages(run, hold=run.read_json(SHOWN) == shown)
    if run.read_json(SHOWN) != shown or not is_shown(run, bool(found.sets)):
        from emoscope.chapters.pages import build_report, figures
        from emoscope.chapters.results import write_tables
        from emoscope.report.theme import KEPT, Drawing

        drawing = Drawing(ahead=not (run / KEPT).is_file())
        with log.stage("writing tables and report", 1 + len(figures("run"))) as progress, drawing:
            run.write_json("manifest.json", {**manifest, "timing": timing(log)})
            part = write_tables(run.path)
            progress.step()
            if found.sets:
                build_report(part, progress.step, drawing)
        run.write_json(SHOWN, shown)
    run.write_json("manifest.json", {**manifest, "timing": timing(log)})
    log.event("done", **timing(log))


def _act_share(selected: Selected, shard: Shard) -> None:
    """Run one shard's units and say what is left; permuted draws that are asked in turn are left to the merging call."""
    heard, planned = selected.listened, plan(selected)
    run, log, work = heard.run, heard.task.log, in_turns(planned.work, heard.study)[0]
    owner = owners(work, shard)
    share = [part for part in work if owner[part.unit.id] == shard]
    intervene(run, heard.study, share, planned.sets, heard.model, log)
    record.prove_weights(heard.weights, heard.model)
    left = [owner[part.unit.id] for part in work if not part.unit.done(run)]
    others = f"{len(left)} units of {named(left)} are left; when they are done, the" if left else "The"
    log.say(f"Share {shard} is done. {others} same command without --shard writes tables and report.")
    log.event("share done", shard=str(shard), units=len(share), left=len(left))


def end_without_sets(heard: Listened, why: NotIdentifiable) -> None:
    """Write manifest, tables and report of what was heard, and let the error say what the model can do."""
    from emoscope.chapters.pages import build_report
    from emoscope.chapters.results import write_tables

    run, selected = heard.run, nothing_found(heard)
    found = selected.found
    settle_pages(run, hold=False)
    conditions = plan_conditions(heard.study, found.frame, found.layers)
    run.write_table("conditions", conditions.filter(conditions["kind"] == "baseline"))
    run.write_table("units", list_units([], heard.units))
    run.write_table("sets", found.frame)
    _forget(run, "foreign_sets.parquet", "transferred_sets.parquet", "set_activity.parquet", "neurons.parquet")
    counts: dict[str, int | str] = {name: f"not identifiable ({count} correct)" for name, count in why.counts.items()}
    manifest = record.run_manifest(Selected(heard, dataclasses.replace(found, identifiable=counts)))
    run.write_json("manifest.json", {**manifest, "ended": str(why), "timing": timing(heard.task.log)})
    part = write_tables(run.path)
    page = build_report(part)
    level = part.table("uar").filter(condition="baseline").drop_nulls("low").head(1).to_dicts()
    span = "".join(f" (95 % {max(0, value['low']):.0f} to {min(100, value['high']):.0f})" for value in level)
    why.args = (f"{told_without_sets(why, heard.items, span)}. What was heard: {page.resolve()}",)


def _forget(run: RunFolder, *names: str) -> None:
    """Delete what an earlier version of the study left: it says nothing about this one."""
    for name in names:
        (run / name).unlink(missing_ok=True)


def is_shown(run: RunFolder, with_report: bool) -> bool:
    """Whether a run has its tables, and its report where it is to have one."""
    return (run / "tables" / "effects.parquet").is_file() and (not with_report or (run / "report.html").is_file())


def _shown(run: RunFolder, manifest: Mapping[str, object]) -> dict[str, str]:
    """Hashes of what tables and report are made from: answers are named by what determines them."""
    files = sorted(path for path in run.path.glob("*.parquet") if path.is_file())
    return {
        "manifest": digest({name: part for name, part in manifest.items() if name != "environment"}),
        **{path.name: sha256(path.read_bytes()).hexdigest() for path in files},
    }
