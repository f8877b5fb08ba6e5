"""A study from its file to its report: the stages in order, what is already done, and the manifest."""

from __future__ import annotations

import platform
import resource
import sys
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from emoscope.experiments.study import Study, check_study, to_toml
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import FORMAT
from emoscope.runs.unit import digest

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
    """

    study: Study
    run: RunFolder
    log: Log
    model: AudioLM | None = None
    corpus: Corpus | None = None
    proofs: list[dict[str, Any]] = field(default_factory=list)
    found: FoundSets | None = None
    _items: pl.DataFrame | None = None
    _weights: str | None = None

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
                self.model = load_model(choice.id, dtype=choice.dtype, device=choice.device)
                progress.step()
        self.study = self.study.with_budget(self.model.info.recommended_budget)
        return self.model

    def listen(self) -> pl.DataFrame:
        """List the items, check the model, hear the items; returns the settled items table."""
        from emoscope.experiments.items import candidate_items, study_corpus
        from emoscope.experiments.listen import listen

        model = self.loaded()
        corpus = study_corpus(self.study, model.info.trained_on, self.corpus)
        self.corpus = corpus
        candidates = candidate_items(self.study, corpus, self.log)
        self.check_model(candidates)
        self._items = listen(self.run, self.study, candidates, model, self.log)
        self.run.write_table("items", self._items)
        return self._items

    def check_model(self, candidates: pl.DataFrame) -> None:
        """Run the proofs on the first clips; a proof that fails stops the run."""
        from emoscope.corpora.audio import AudioError, load_audio
        from emoscope.models.audio_lm import ProofFailed, Request
        from emoscope.models.check import run_proofs
        from emoscope.questions import Question

        model = self.loaded()
        self._weights = model.decoder.fingerprint()
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
        )  # fmt: skip
        return find_sets(Activity.open(self.run / "activity.zarr"), items.filter(items["fate"] == "used"), spec)

    def check_weights(self) -> dict[str, Any]:
        """Compare the weights on which gains act with what they were before the first intervention."""
        from emoscope.models.audio_lm import ProofFailed

        same = self._weights is not None and self._weights == self.loaded().decoder.fingerprint()
        if self._weights is not None and not same:
            raise ProofFailed("the weights of down_proj changed during the run: interventions leave them as they are")
        return {"name": "weights unchanged by the run", "status": "passed" if same else "not run", "measured": None,
                "tolerance": None, "note": "hash of the bits of all down_proj weights before and after"}  # fmt: skip

    def select(self) -> FoundSets:
        """Find the sets and write them into the run folder."""
        began = time.monotonic()
        found = self.find_sets()
        self.run.write_table("sets", found.frame)
        found.save_sets(self.run / "sets")
        self.log.seconds["selecting"] = round(time.monotonic() - began, 3)
        self.log.event("selected", sets=found.frame.height, seconds=self.log.seconds["selecting"])
        return found

    def intervene(self, found: FoundSets) -> pl.DataFrame:
        """Run every condition on every block of evaluated items; returns the conditions."""
        from emoscope.experiments.conditions import plan_conditions
        from emoscope.experiments.intervene import intervene, plan_work

        model = self.loaded()
        conditions = plan_conditions(self.study, found.frame, model.info.layers)
        sets = self.sets(found)
        work = plan_work(self.study, self.items, conditions, sets, model)
        self.run.write_table("conditions", conditions)
        self.run.write_table("units", _units(self.run, work, self.items))
        intervene(self.run, self.study, work, sets, model, self.log)
        self.write_words(found)
        return conditions

    def sets(self, found: FoundSets) -> SetsByFold:
        """The sets as the conditions use them."""
        from emoscope.experiments.conditions import SetsByFold

        return SetsByFold(found.sets, self.loaded().info)

    def write_words(self, found: FoundSets) -> None:
        """Write neurons.parquet: the output tokens that each headline neuron raises and lowers most."""
        from emoscope.experiments.words import neuron_words

        table = neuron_words(self.loaded(), found, self.study.headline.selector, self.study.headline.budget)
        self.run.write_table("neurons", table)

    @property
    def items(self) -> pl.DataFrame:
        """The settled items table."""
        if self._items is None:
            self._items = self.run.read_table("items")
        return self._items

    def manifest(self, found: FoundSets) -> dict[str, Any]:
        """What was run, with what, and what every check measured."""
        from emoscope import __version__

        model = self.loaded()
        proofs = [*self.proofs, self.check_weights()]
        self.log.event("proof", **proofs[-1])
        fates = Counter(self.items.unique("clip", keep="first", maintain_order=True)["fate"].to_list())
        return {
            "format": FORMAT,
            "emoscope": __version__,
            "model": msgspec.to_builtins(model.info),
            "corpora": [_corpus_card(self.corpus)] if self.corpus else [],
            "study": msgspec.to_builtins(self.study),
            "headline": {**msgspec.to_builtins(self.study.headline), "scope": self.study.identify.scope},
            "emotions": list(dict.fromkeys(_options(self.items))),
            "identifiable": dict(found.identifiable),
            "counts": {
                "clips": sum(fates.values()),
                **{f: fates.get(f, 0) for f in ("used", "not needed", "excluded", "quarantined")},
            },
            "proofs": proofs,
            "environment": environment(),
        }


def run_study(
    study: Study, folder: str | Path, log: Log | None = None, model: AudioLM | None = None, corpus: Corpus | None = None
) -> RunFolder:
    """Run a study, or what is left of it, and write tables and report.

    A finished run of the same study is not run again: the model is not even loaded.

    Args:
        study: the study.
        folder: the run folder.
        log: progress; quiet where it is not given.
        model: a loaded model, otherwise the study's is loaded.
        corpus: an opened corpus, otherwise the study's is opened.

    Returns:
        the run folder.

    Raises:
        StudyError: the study cannot be run.
        NotIdentifiable: fewer than two emotions have enough correct answers.
        ProofFailed: a check of the model failed.
    """
    from emoscope.analysis.tables import write_tables
    from emoscope.report.page import build_report

    check_study(study)
    run = RunFolder(folder, create=True)
    log = log or Log("quiet")
    if finished(run, study, model):
        log.say(f"{run.path} holds this study, finished: nothing to run")
        if not (run / "report.html").is_file():
            build_report(run.path, write_tables(run.path))
        return run
    began = time.monotonic()
    (run / "study.toml").write_text(to_toml(study), encoding="utf-8")
    (run / "manifest.json").unlink(missing_ok=True)
    pipeline = Pipeline(study, run, log, model, corpus)
    pipeline.listen()
    found = pipeline.select()
    pipeline.intervene(found)
    manifest = pipeline.manifest(found)
    run.write_json("manifest.json", manifest)
    with log.stage("writing tables and report", 2):
        tables = write_tables(run.path)
        log.step()
        manifest["timing"] = timing(log, began)
        manifest["asked"] = digest(msgspec.to_builtins(study))
        run.write_json("manifest.json", manifest)
        build_report(run.path, tables)
        log.step()
    manifest["timing"] = timing(log, began)
    run.write_json("manifest.json", manifest)
    log.event("done", **manifest["timing"])
    return run


def finished(run: RunFolder, study: Study, model: AudioLM | None = None) -> bool:
    """Whether the folder holds this very study, with every unit whole and the model unchanged."""
    from emoscope import __version__
    from emoscope.models.lookup import look_up

    manifest = run.read_json("manifest.json")
    if (
        not manifest
        or manifest.get("asked") != digest(msgspec.to_builtins(study))
        or manifest["emoscope"] != __version__
    ):
        return False
    if not (run / "units.parquet").is_file():
        return False
    checksum = model.info.checksum if model else look_up(study.model.id).checksum
    done = all((run / "units" / f"{unit}.json").is_file() for unit in run.read_table("units")["unit"])
    return bool(done and checksum == manifest["model"]["checksum"])


def timing(log: Log, began: float) -> dict[str, Any]:
    """Seconds in all and by stage, and the largest memory held so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    peak_gb = peak / (1024**3 if sys.platform == "darwin" else 1024**2)
    return {
        "total_s": round(time.monotonic() - began, 2),
        "peak_memory_gb": round(peak_gb, 3),
        "stages_s": dict(log.seconds),
    }


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


def _units(run: RunFolder, work: list[Any], items: pl.DataFrame) -> pl.DataFrame:
    """The units that make up this run: readers ignore all others in the folder."""
    import polars as pl

    rows = [(one.unit.id, "intervene", one.condition["condition"], one.scoring, len(one.block)) for one in work]
    wanted = set(items.filter(items["fate"] == "used")["item"].to_list())
    for card in sorted((run / "units").glob("*.json")):
        key: Mapping[str, Any] = run.read_json(f"units/{card.name}")["key"]
        if key["stage"] == "listen" and wanted & {item[0] for item in key["items"]}:
            rows.append((card.stem, "listen", "baseline", "likelihood", len(key["items"])))
    schema = {"unit": pl.String, "stage": pl.String, "condition": pl.String, "scoring": pl.String, "items": pl.Int64}
    return pl.DataFrame(sorted(rows), schema=schema, orient="row")


def _corpus_card(corpus: Corpus) -> dict[str, Any]:
    info = corpus.info
    return {"id": info.id, "title": info.title, "licence": info.licence, "citation": info.citation}
