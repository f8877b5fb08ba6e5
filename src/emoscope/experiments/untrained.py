"""The untrained null: a finished study once more, on models of the same architecture that have learned nothing."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import polars as pl
from msgspec.structs import replace

from emoscope import __version__
from emoscope.analysis.declared import FEWEST_DRAWS, judge
from emoscope.analysis.estimate import Estimate, ratio, replicates
from emoscope.analysis.headline import CONTROLS as DECLARED_CONTROLS
from emoscope.analysis.headline import declared_evidence
from emoscope.analysis.load import read_run
from emoscope.analysis.responses import build_responses
from emoscope.experiments import record, stages
from emoscope.experiments.attribute import attribute
from emoscope.experiments.conditions import plan_conditions
from emoscope.experiments.intervene import SetsByFold, intervene, list_units, plan_work
from emoscope.experiments.items import SETTLED
from emoscope.experiments.listen import hear
from emoscope.experiments.prompts import PRESENTATIONS
from emoscope.experiments.schema import Controls, Study
from emoscope.experiments.study import read_study
from emoscope.files import Checksums
from emoscope.neurons.activity import Activity
from emoscope.neurons.controls import CONTROLS
from emoscope.neurons.probe import read_labels
from emoscope.neurons.selectors import needs_gradients
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import FORMAT, digest, refuse_study
from emoscope.runs.shards import locked
from emoscope.schemas import as_table
from emoscope.vocabulary import BASELINE, DEACTIVATE, STEER, USED
from emoscope.wording import estimate_text

if TYPE_CHECKING:
    from emoscope.models.audio_lm import AudioLM
    from emoscope.models.untrained import Weights

FOLDER = "untrained"
"""In the run's folder: a run for each model, with its manifest, items, sets, conditions and answers."""

Row = dict[str, object]


@dataclass(frozen=True)
class Source:
    """The finished run whose study is asked again, with what of it is asked."""

    run: RunFolder
    study: Study  # with the conditions of the declared claims alone
    items: pl.DataFrame  # the clips that it has heard, numbered anew, as items that are still to be heard
    evaluated: pl.Series  # which of them it has tested, in the same order
    known: str  # hash of what else decides the answers: clips, questions, folds, trained weights, versions

    @classmethod
    def of(cls, folder: str | Path) -> Source:
        """Read a finished run, or a part of a study.

        Raises:
            ValueError: it is not finished, holds several parts, or ended without sets.
        """
        refuse_study(folder)
        run = RunFolder(folder)
        manifest = run.read_json("manifest.json")
        if not manifest or "ended" in manifest:
            raise ValueError(f"{run.path} is no finished run with sets: `emoscope run` finishes it")
        budget = manifest["headline"]["budget"]
        study = narrowed(read_study(run / "study.toml", imports=False).with_budget(budget))
        items = run.read_table("items").filter(pl.col("status") == USED).sort("item")
        again = items.drop(SETTLED).with_columns(
            pl.int_range(pl.len()).alias("item"),
            *(pl.lit(None, dtype=items.schema[name]).alias(name) for name in ("status", "why", "duration_s")),
        )
        known = digest([__version__, manifest["candidates"], manifest["model"]["checksum"], again["clip"].to_list()])
        return cls(run, study, again, items["evaluated"], known)

    def refuse_lost(self) -> None:
        """Refuse recordings that are not where the run has heard them, or are others, before anything is asked.

        Raises:
            ValueError: with how many they are, and the first of them.
        """
        if not PRESENTATIONS[self.study.question.presentation].of_clips:
            return
        lost = []
        clips = self.items.unique("clip", maintain_order=True)
        with Checksums("sounds.json") as remembered:
            for path, before in clips.select("path", "checksum").iter_rows():
                try:
                    why = None if remembered.of(Path(path)) == before else "another recording"
                except OSError as error:
                    why = "file not found" if isinstance(error, FileNotFoundError) else error.strerror
                lost += [f"{path} ({why})"] if why else []
        if lost:
            raise ValueError(
                f"{len(lost)} of the {len(clips)} recordings that {self.run.path} has heard are not as it heard them, such "
                f"as {lost[0]}: put them back, or give the command of the run again, which finds them where they are now"
            )

    def asked(self, weights: str, seed: int) -> str:
        """Hash of all that decides what one model answers."""
        return digest([msgspec.to_builtins(self.study), weights, seed, self.known])

    def results(self) -> list[Row]:
        """The rows of all models that were asked the very same, by their folders."""
        rows = []
        for path in sorted((self.run / FOLDER).glob("*/manifest.json")):
            manifest = json.loads(path.read_text(encoding="utf-8"))
            if manifest["asked"] == self.asked(manifest["weights"], manifest["seed"]):
                rows.append(manifest["result"])
        return rows


def narrowed(study: Study) -> Study:
    """The study with what its declared claims need alone: one selector and budget, one kind of control, two interventions.

    Controls are those beyond which claims are tested (:data:`~emoscope.analysis.headline.CONTROLS`). An emotion needs one
    clip for a set, as sets are found on the true labels of all clips.

    Example:
        >>> asked = narrowed(Study())
        >>> asked.interventions.alphas, asked.controls.orthogonal, asked.controls.matched
        ((0.5,), 19, 0)
    """
    head, controls, work = study.headline, study.controls, study.interventions
    assert head.budget is not None or not study.identify.budgets
    budgets = () if head.budget is None else (head.budget,)
    few = {
        "selectors": (head.selector,),
        "budgets": budgets,
        "sizes": (),
        "minimum": 1,
        "compare_at_common_size": False,
    }
    enough = (name for name in DECLARED_CONTROLS if getattr(controls, name) >= FEWEST_DRAWS)
    beyond = next(enough, DECLARED_CONTROLS[-1])
    draws: dict[str, Any] = {name: getattr(controls, name) if name == beyond else 0 for name in CONTROLS}
    return replace(
        study,
        identify=replace(study.identify, **few),
        interventions=replace(
            work, deactivate=("zero",), alphas=(head.alpha,), positions=(), layers=(), reselect_in_ranges=False,
            profile=False, agnostic=(), reliance=False, generate=False,
        ),
        controls=replace(Controls(), **{name: draws.get(name, 0) for name in CONTROLS}),
    )  # fmt: skip


def run_untrained(
    folder: str | Path, weights: Weights = "decoder", seeds: Iterable[int] = range(20), log: Log | None = None
) -> pl.DataFrame:
    """Ask a finished run's study again on models with random weights, and judge each by the declared claims.

    What was done before is not done again. Listening and every condition can be stopped and go on with the same call.

    Args:
        weights: ``"decoder"`` leaves the audio encoder and the projector trained, so that the voice comes through;
            ``"all"`` does not.
        seeds: one model each.

    Returns:
        table ``untrained`` of the run, also in its folder: one row for every model so far, those of earlier calls too.

    Raises:
        ValueError: the run is not finished, a recording is not as it has heard it, its model cannot be given random
            weights, or an earlier call has left a model of which clips were not heard.
        ProofFailed: a check of such a model failed.
    """
    source, log = Source.of(folder), log or Log("quiet")
    loaded: AudioLM | None = None
    with locked(source.run.path):
        for seed in seeds:
            if any(row["weights"] == weights and row["seed"] == seed for row in source.results()):
                continue
            from emoscope.models.untrained import untrain

            if loaded is None:
                source.refuse_lost()
            loaded = loaded or stages.load(source.study.model, log)
            run = RunFolder(source.run / f"{FOLDER}/{weights}-{seed}", create=True)
            log.say(told(one_model(source, run, untrain(loaded, weights, seed), weights, seed, log)))
            source.run.write_table("untrained", as_table("untrained", source.results()))
        table = as_table("untrained", source.results())
        source.run.write_table("untrained", table)
    return table


def one_model(source: Source, run: RunFolder, model: AudioLM, weights: str, seed: int, log: Log) -> Row:
    """Listen, find sets on the true labels, ask, judge and keep the result in one model's folder."""
    study = source.study
    (run / "manifest.json").unlink(missing_ok=True)
    before = model.decoder.fingerprint()
    gradients = needs_gradients(study.identify.selectors)
    proofs = record.prove_model(run, source.items, study.corpus.loudness, model, log, gradients)
    # heard are the clips of the run, whatever this model answers
    whole = replace(study, identify=replace(study.identify, items_per_emotion=max(1, len(source.items))))
    items, heard = hear(run, whole, source.items, model, log, lambda _: None)
    refuse_half(run, items)
    items = items.with_columns(evaluated=(pl.col("status") == USED) & source.evaluated)
    labelled = items.with_columns(correct=pl.lit(True))
    attribute(run, study, labelled, model, log, None)
    found = stages.find_sets(run, study, labelled)
    conditions = plan_conditions(study, found.frame, model.info.layers)
    conditions = conditions.filter(pl.col("kind").is_in([BASELINE, DEACTIVATE, STEER]))
    sets = SetsByFold(found.sets, model.info, found.mean_product)
    work = plan_work(study, items, conditions, sets, model)
    for name, table in {"items": items, "sets": found.frame, "conditions": conditions}.items():
        run.write_table(name, table)
    run.write_table("units", list_units(work, heard))
    intervene(run, study, work, sets, model, log)
    run.settle(heard, [part.unit.id for part in work])
    manifest = {
        "format": FORMAT, "emoscope": __version__, "model": msgspec.to_builtins(model.info),
        "study": msgspec.to_builtins(study), "asked": source.asked(weights, seed), "weights": weights, "seed": seed,
        "headline": {**msgspec.to_builtins(study.headline), "scope": study.identify.scope},
        "proofs": [*proofs, record.prove_weights(before, model)], "environment": record.environment(),
    }  # fmt: skip
    row = {"weights": weights, "seed": seed, "weights_checksum": model.info.checksum} | judged(run, manifest, study)
    run.write_json("manifest.json", {**manifest, "result": row})
    # large, and of no use once the model is judged
    for name in ("activity.zarr", "attribution", "cache"):
        shutil.rmtree(run / name, ignore_errors=True)
    return row


def refuse_half(run: RunFolder, items: pl.DataFrame) -> None:
    """Remove a model's folder in which some clips count as heard and were not, such as while recordings were away.

    Raises:
        ValueError: it was removed, with how many clips these are, and the first of them.
    """
    lost = items.filter(pl.col("status") != USED)
    if lost.is_empty():
        return
    clip, why = lost.select("clip", "why").row(0)
    shutil.rmtree(run.path)
    raise ValueError(
        f"{run.path} holds no answers to {len(lost)} of {len(items)} items, such as clip {clip!r} ({why}): the folder is "
        "removed, and the same command begins this model anew"
    )


def judged(run: RunFolder, manifest: Mapping[str, object], study: Study) -> Row:
    """What the declared claims say of one model that need not tell the emotions apart, and what the probe reads."""
    read = dataclasses.replace(read_run(run.path), manifest=manifest)
    probe = probed(run, study, read.items)
    evidence = declared_evidence(read, build_responses(read))
    if evidence is None:
        return {"verdict": "not testable", "why": "nothing was asked under the sets", **probe}
    tests = judge(evidence.evidence, onward=False, gated=False)
    exists, steers = dataclasses.asdict(tests["exists"]), dataclasses.asdict(tests["steers"])
    names = ("verdict", "why", "estimate", "low", "high", "set_low", "set_high", "p", "p_holm", "units", "draws")
    more = {"steers": steers["verdict"], "steered": steers["estimate"], "steered_low": steers["low"]}
    more |= {"steered_high": steers["high"], "control": evidence.control}
    return {name: exists[name] for name in names} | more | probe


def probed(run: RunFolder, study: Study, items: pl.DataFrame) -> Row:
    """The balanced accuracy of the probe with its interval over speakers, and whether it is not clear of chance."""
    activity = Activity.open(run / "activity.zarr")
    scope = record.heard_scope(
        activity, study.identify.scope, items.filter(pl.col("status") == USED)["item"].to_numpy()
    )
    rows = read_labels(activity, items.filter(pl.col("status") == USED), scope)
    names, truth = np.unique(rows["truth"].to_numpy(), return_inverse=True)
    who = np.unique(rows["speaker"].fill_null("").to_numpy(), return_inverse=True)[1]
    place, size = who * len(names) + truth, (who.max() + 1) * len(names)
    right = (rows["read"] == rows["truth"]).to_numpy().astype(float)
    hits, there = (np.bincount(place, values, size).reshape(-1, len(names)) for values in (right, np.ones(len(right))))
    shares = ratio(replicates(100 * hits), replicates(there)).mean(axis=1)
    found, chance = Estimate(shares, there.sum(axis=1)).interval(), 100 / len(names)
    ends: Row = {"probe": found.estimate, "probe_low": found.low, "probe_high": found.high, "chance": chance}
    return ends | {"vacuous": found.low is None or found.low <= chance}


def told(row: Mapping[str, object]) -> str:
    """What was found of one model, for the terminal."""
    found = f", {estimate_text(row, digits=3)} nat" if row.get("estimate") is not None else ""
    probe = f"a probe reads {estimate_text(row, 'probe', sign=False)} % (chance {row['chance']:.0f})"
    vacuous = ": vacuous, as the emotion cannot be read from this model" if row["vacuous"] else ""
    return f"{row['weights']} random, seed {row['seed']}: exists {row['verdict']}{found}; {probe}{vacuous}"
