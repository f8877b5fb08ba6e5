"""A study from its file to its report: the stages in order, what is already done, and the manifest."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from emoscope.experiments.study import Study, check_study, to_toml
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import FORMAT, replacing
from emoscope.runs.unit import check_unit, digest

if TYPE_CHECKING:
    import polars as pl

    from emoscope.corpora import Corpus
    from emoscope.experiments.conditions import SetsByFold
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.selection import FoundSets


@dataclass
class Pipeline:
    """One study in its run folder; each stage reads what the one before stored.

    Args:
        study: what is asked.
        run: where everything is kept.
        log: progress and events.
        model: a loaded model; loaded from the study when it is first needed otherwise.
        corpus: an opened corpus that takes the place of the study's.
        proofs: checks of the model, as they came out.
        known_items: the settled items, once they are known.
        candidates: hash of the clips, questions and folds that were found.
        heard_units: units that hold the baseline answers.
        weights: hash of the weights on which gains act, before the first intervention.
        full: the study of which this one is a pilot, if it is one.
        no_null: why the numerical null was not asked; empty where it was.
    """

    study: Study
    run: RunFolder
    log: Log
    model: AudioLM | None = None
    corpus: Corpus | None = None
    proofs: list[dict[str, Any]] = field(default_factory=list)
    known_items: pl.DataFrame | None = None
    candidates: str = ""
    heard_units: list[str] = field(default_factory=list)
    weights: str | None = None
    full: Study | None = None
    no_null: str = ""

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

    def listen(self) -> pl.DataFrame:
        """List the items, check the model, hear the items; returns the settled items table."""
        from emoscope.experiments.items import candidate_items, study_corpus
        from emoscope.experiments.listen import listen
        from emoscope.experiments.listened import refuse_changes
        from emoscope.experiments.sides import folds_dealt_before

        self.asked = self.study
        # the corpus first: a mistake in it is said before a large model is loaded
        trained_on = self.model.info.trained_on if self.model else self.study.card().trained_on
        corpus = study_corpus(self.study, trained_on, self.corpus)
        self.corpus = corpus
        candidates = candidate_items(self.study, corpus, self.log, folds_dealt_before(self.run, self.study))
        model = self.loaded()
        # before the first file is written: a run that is refused stays as it was
        refuse_changes(self.run, model.info, candidates.filter(candidates["fate"].is_null()).to_dicts())
        with replacing(self.run / "study.toml") as partial:
            partial.write_text(to_toml(self.asked), encoding="utf-8")
        (self.run / "manifest.json").unlink(missing_ok=True)
        self.candidates = candidates_digest(candidates)
        self.check_model(candidates)
        self.known_items, self.heard_units = listen(self.run, self.study, candidates, model, self.log)
        self.run.write_table("items", self.known_items)
        return self.known_items

    def check_model(self, candidates: pl.DataFrame) -> None:
        """Run the proofs on the first clips; a proof that fails stops the run."""
        from emoscope.corpora.audio import AudioError, load_audio
        from emoscope.models.audio_lm import ProofFailed, Request
        from emoscope.models.check import run_proofs
        from emoscope.questions import Question

        model = self.loaded()
        self.weights = model.decoder.fingerprint()
        requests = []
        for item in candidates.filter(candidates["fate"].is_null()).iter_rows(named=True):
            try:
                wave = load_audio(item["path"], self.study.corpus.loudness)
            except AudioError:
                continue
            question = Question(item["label"], tuple(item["options"]), item["wording"])
            requests.append(Request(wave, question.text, question.letters))
            if len(requests) == 4:
                break
        self.proofs = (
            [msgspec.to_builtins(proof) for proof in run_proofs(model, model.prepare(requests))] if requests else []
        )
        for proof in self.proofs:
            self.log.event("proof", **proof)
        self.run.write_json("cache/proofs.json", self.proofs)
        if failed := [proof for proof in self.proofs if proof["status"] == "failed"]:
            raise ProofFailed(
                f"{failed[0]['name']}: measured {failed[0]['measured']}, allowed {failed[0]['tolerance']}"
            )

    def find_sets(self) -> FoundSets:
        """Find the sets and their controls from the stored activity, without the model."""
        from emoscope.neurons.activity import Activity
        from emoscope.neurons.selection import SetSpec, find_sets

        study, items = self.study, self.items
        assert study.headline.budget is not None
        spec = SetSpec(
            emotions=tuple(dict.fromkeys(_options(items))), selectors=study.identify.selectors,
            budgets=study.identify.budgets, scope=study.identify.scope, site=study.identify.site,
            items_per_emotion=study.identify.items_per_emotion, minimum=study.identify.minimum,
            matched=study.controls.matched, random=study.controls.random, shuffled=study.controls.shuffled,
            headline=(study.headline.selector, study.headline.budget), seed=study.seed, label=study.identify.label,
            floor=study.identify.lape_floor,
        )  # fmt: skip
        return find_sets(Activity.open(self.run / "activity.zarr"), items.filter(items["fate"] == "used"), spec)

    def check_weights(self) -> dict[str, Any]:
        """Compare the weights on which gains act with what they were before the first intervention."""
        from emoscope.models.audio_lm import ProofFailed

        same = self.weights is not None and self.weights == self.loaded().decoder.fingerprint()
        if self.weights is not None and not same:
            raise ProofFailed("the weights of down_proj changed during the run: interventions leave them as they are")
        return {"name": "weights unchanged by the run", "status": "passed" if same else "not run", "measured": None,
                "tolerance": None, "note": "hash of the bits of all down_proj weights before and after"}  # fmt: skip

    def select(self) -> FoundSets:
        """Find the sets, and say how long it took."""
        began = time.monotonic()
        found = self.find_sets()
        self.log.seconds["selecting"] = round(time.monotonic() - began, 3)
        self.log.event("selected", sets=found.frame.height, seconds=self.log.seconds["selecting"])
        return found

    def intervene(self, found: FoundSets) -> pl.DataFrame:
        """Run every condition on every block of evaluated items; returns the conditions."""
        from emoscope.experiments.conditions import plan_conditions
        from emoscope.experiments.intervene import intervene, plan_work, why_no_null

        model = self.loaded()
        conditions = plan_conditions(self.study, found.frame, model.info.layers)
        self.no_null = why_no_null(self.run, self.study, self.items, model)
        if self.no_null:
            conditions = conditions.filter(conditions["kind"] != "null")
        sets = self.sets(found)
        work = plan_work(self.study, self.items, conditions, sets, model)
        self.run.write_table("conditions", conditions)
        self.run.write_table("units", _units(work, self.heard_units))
        intervene(self.run, self.study, work, sets, model, self.log)
        self.write_words(found)
        return conditions

    def sets(self, found: FoundSets) -> SetsByFold:
        """The sets as the conditions use them."""
        from emoscope.experiments.conditions import SetsByFold

        return SetsByFold(found.sets, self.loaded().info, found.mean_product)

    def write_words(self, found: FoundSets) -> None:
        """Write neurons.parquet: the output tokens that each headline neuron raises and lowers most."""
        from emoscope.experiments.words import neuron_words

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
        """Run every condition on sets that were found, then write manifest, tables and report."""
        from emoscope.analysis.tables import write_tables
        from emoscope.report.charts import FIGURES
        from emoscope.report.page import build_report

        run = self.run
        run.write_table("items", self.items)
        run.write_table("sets", found.frame)
        found.save_sets(run / "sets")
        self.intervene(found)
        manifest = self.manifest(found)
        with self.log.stage("writing tables and report", 1 + len(FIGURES)) as progress:
            run.write_json("manifest.json", {**manifest, "timing": timing(self.log)})
            tables = write_tables(run.path)
            progress.step()
            build_report(run.path, tables, progress.step)
        run.write_json("manifest.json", {**manifest, "timing": timing(self.log)})
        self.log.event("done", **timing(self.log))

    def manifest(self, found: FoundSets) -> dict[str, Any]:
        """What was run, with what, and what every check measured."""
        from emoscope import __version__
        from emoscope.experiments.sides import shared_speakers
        from emoscope.neurons.selectors import own_code

        model = self.loaded()
        proofs = [*self.proofs, self.check_weights()]
        self.log.event("proof", **proofs[-1])
        fates = Counter(self.items.unique("clip", keep="first", maintain_order=True)["fate"].to_list())
        return {
            "format": FORMAT,
            "emoscope": __version__,
            "model": {**msgspec.to_builtins(model.info), "site": self.study.identify.site},
            "corpora": [_corpus_card(self.corpus)] if self.corpus else [],
            "study": msgspec.to_builtins(self.study),
            "headline": {**msgspec.to_builtins(self.study.headline), "scope": self.study.identify.scope},
            "emotions": list(dict.fromkeys(_options(self.items))),
            "identifiable": dict(found.identifiable),
            "counts": {
                "clips": sum(fates.values()),
                **{f: fates.get(f, 0) for f in ("used", "not needed", "excluded", "quarantined")},
            },
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


def run_study(
    study: Study,
    folder: str | Path,
    log: Log | None = None,
    model: AudioLM | None = None,
    corpus: Corpus | None = None,
    full: Study | None = None,
) -> RunFolder:
    """Run a study, or what is left of it, and write tables and report.

    A finished run of the same study is not run again: the model is not even loaded.

    Args:
        study: the study.
        folder: the run folder.
        log: progress; quiet where it is not given.
        model: a loaded model, otherwise the study's is loaded.
        corpus: an opened corpus, otherwise the study's is opened.
        full: the study of which ``study`` is a pilot; the manifest then says what the pilot means for it.

    Returns:
        the run folder.

    Raises:
        StudyError: the study cannot be run.
        NotIdentifiable: fewer than two emotions have enough correct answers.
        ProofFailed: a check of the model failed.
    """
    from emoscope.analysis.tables import write_tables
    from emoscope.neurons.selection import NotIdentifiable
    from emoscope.report.page import build_report

    check_study(study)
    run = RunFolder(folder, create=True)
    log = log or Log("quiet")
    if finished(run, study, model, corpus, full):
        log.say(f"{run.path} holds this study, finished: nothing to run")
        if not ((run / "report.html").is_file() and (run / "tables" / "effects.parquet").is_file()):
            build_report(run.path, write_tables(run.path))
        return run
    pipeline = Pipeline(study, run, log, model, corpus, full=full)
    pipeline.listen()
    try:
        found = pipeline.select()
    except NotIdentifiable:
        if full:
            for sentence in pipeline.pilot()["verdict"]:
                log.say(sentence)
        raise
    pipeline.test(found)
    return run


def finished(
    run: RunFolder,
    study: Study,
    model: AudioLM | None = None,
    corpus: Corpus | None = None,
    full: Study | None = None,
) -> bool:
    """Whether the folder holds this very study, every unit whole, on the same model and the same recordings."""
    from emoscope import __version__
    from emoscope.experiments.items import candidate_items, study_corpus
    from emoscope.experiments.sides import folds_dealt_before
    from emoscope.neurons.selectors import own_code

    manifest = run.read_json("manifest.json")
    if not manifest or manifest["emoscope"] != __version__ or not (run / "units.parquet").is_file():
        return False
    if manifest["asked"] != digest(msgspec.to_builtins(study)):
        return False
    if manifest.get("own_selectors", {}) != own_code(study.identify.selectors):
        return False
    if full and manifest.get("pilot", {}).get("full") != digest(msgspec.to_builtins(full)):
        return False
    card = None if model else study.card()
    trained_on = model.info.trained_on if model else card.trained_on if card else ()
    checksum = model.info.checksum if model else card.checksum if card else ""
    if checksum != manifest["model"]["checksum"]:
        return False
    candidates = candidate_items(study, study_corpus(study, trained_on, corpus), dealt=folds_dealt_before(run, study))
    if candidates_digest(candidates) != manifest["candidates"]:
        return False
    return all(check_unit(run, unit) is None for unit in run.read_table("units")["unit"])


def candidates_digest(candidates: pl.DataFrame) -> str:
    """Hash of the clips, recordings, labels, questions and folds of a study's candidates."""
    columns = ("clip", "checksum", "truth", "fold", "side", "speaker", "options", "wording", "fate")
    return digest(candidates.select(columns).rows())


def timing(log: Log) -> dict[str, Any]:
    """Seconds in all and by stage, and the largest memory held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_gb = peak / (1024**3 if sys.platform == "darwin" else 1024**2)
    total = time.monotonic() - log.start
    return {"total_s": round(total, 2), "peak_memory_gb": round(peak_gb, 3), "stages_s": dict(log.seconds)}


def environment() -> dict[str, Any]:
    """Versions and machine on which a run was made."""
    import os
    from importlib.metadata import version

    import torch

    packages = {name: version(name) for name in ("torch", "transformers", "numpy", "polars", "zarr")}
    return {"python": platform.python_version(), "system": platform.system(), "machine": platform.machine(),
            "cores": os.cpu_count(), "threads": torch.get_num_threads(), **packages}  # fmt: skip


def _options(items: pl.DataFrame) -> list[str]:
    from emoscope.emotions import in_order

    return list(in_order({option for shown in items["options"].drop_nulls().to_list() for option in shown}))


def _units(work: list[Any], heard: list[str]) -> pl.DataFrame:
    """The units that make up this run: readers ignore all others in the folder."""
    import polars as pl

    rows: list[tuple[Any, ...]] = [
        (one.unit.id, "intervene", one.condition["condition"], one.scoring, len(one.block)) for one in work
    ]
    rows += [(unit, "listen", "baseline", "likelihood", None) for unit in heard]
    schema = {"unit": pl.String, "stage": pl.String, "condition": pl.String, "scoring": pl.String, "items": pl.Int64}
    return pl.DataFrame(sorted(rows, key=lambda row: row[:4]), schema=schema, orient="row")


def _corpus_card(corpus: Corpus) -> dict[str, Any]:
    info = corpus.info
    return {"id": info.id, "title": info.title, "licence": info.licence, "citation": info.citation}
