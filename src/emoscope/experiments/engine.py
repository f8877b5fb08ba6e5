"""Run a study, or what is left of it; of several parts all listen, all find sets, then the sets of each act in the others."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from emoscope.experiments import stages
from emoscope.experiments.conditions import set_spec
from emoscope.experiments.items import folds_of, study_corpus
from emoscope.experiments.parts import TEXT_QUESTIONS, Part, has_parts, main_studies, plan_parts, sources_for
from emoscope.experiments.pilot import told_without_sets
from emoscope.experiments.record import finished, pilot_of, timing, write_set_activity
from emoscope.experiments.registration import compared
from emoscope.experiments.schema import Study
from emoscope.experiments.stages import Listened, Selected, Task
from emoscope.experiments.study import check_study
from emoscope.neurons.activity import Activity
from emoscope.neurons.fusion import transfer_sets
from emoscope.neurons.selection import NotIdentifiable, as_transferred, gather
from emoscope.neurons.sources import Source, equal_samples, score_agreement
from emoscope.runs import Log, RunFolder, Shard
from emoscope.runs.folder import FORMAT, digest
from emoscope.runs.shards import locked
from emoscope.vocabulary import GROUNDING, MAIN, SHARED

if TYPE_CHECKING:
    from emoscope.corpora import Corpus
    from emoscope.models.audio_lm import AudioLM
    from emoscope.neurons.selection import FoundSets, SetSpec


def run_study(
    study: Study,
    folder: str | Path,
    log: Log | None = None,
    model: AudioLM | None = None,
    corpus: Corpus | None = None,
    full: Study | None = None,
    shard: Shard | None = None,
) -> RunFolder:
    """Run a study, or what is left of it, and write tables and report.

    A finished run of the same study is not run again: the model is not even loaded.

    Args:
        full: the study of which ``study`` is a pilot; the manifest then says what the pilot means for it.
        shard: do this share of the units only; a later call without it merges and writes tables and report.

    Raises:
        StudyError: the study cannot be run.
        NotIdentifiable: fewer than two emotions have enough correct answers.
        ProofFailed: a check of the model failed.
        InUse: another process works in the folder, on the same share or on the whole.
        Unfinished: a shard needs what others, none of which is at work, have not heard yet.
    """
    check_study(study)
    run = RunFolder(folder, create=True)
    log = log or Log("quiet")
    with locked(run.path, shard):
        trained_on = model.info.trained_on if model else study.card().trained_on
        if has_parts(study):
            if corpus is not None:
                raise ValueError("a study with several parts opens its corpora itself: give it without a corpus")
            parts, shared = plan_parts(study, trained_on)
            fulls = main_studies(full) if full else {}
            StudyInParts(study, run, log, tuple(parts), shared, fulls).run_parts(model, shard)
        else:
            task = Task(study, run, log, study_corpus(study, trained_on, corpus), full=full)
            _run_one(task, model, shard)
    return run


def _run_one(task: Task, model: AudioLM | None, shard: Shard | None) -> None:
    """Run a study of one part."""
    run, log = task.run, task.log
    if finished(run, task.study, model, task.corpus, task.full):
        log.say(f"{run.path} holds this study, finished: nothing to run")
        if not stages.is_shown(run, with_report=True):
            from emoscope.chapters.pages import build_report
            from emoscope.chapters.results import write_tables

            build_report(write_tables(run.path))
        return
    listened = stages.listen(task, model, shard)
    try:
        selected = stages.select(listened)
    except NotIdentifiable as why:
        if task.full:
            for sentence in pilot_of(listened)["verdict"]:
                log.say(sentence)
        if shard is None:
            stages.end_without_sets(listened, why)
        raise
    stages.act(selected, shard)


@dataclass(frozen=True)
class StudyInParts:
    """A study of several parts in its run folder."""

    study: Study
    run: RunFolder
    log: Log
    parts: tuple[Part, ...]
    shared: tuple[str, ...]  # the emotions that all corpora share, where transfer is asked
    fulls: Mapping[str, Study]  # main part -> the study of which it is a pilot

    def run_parts(self, model: AudioLM | None, shard: Shard | None) -> None:
        """Run every part, or what is left of it, and write the tables and the report of the whole.

        A part whose neurons cannot be found (the model does not know its emotions) is kept with its reason: its
        baseline answers, and what the sets of others do there, are results too.
        """
        if shard is None and self.finished(model):
            self.log.say(f"{self.run.path} holds this study, finished: nothing to run")
            if not (self.run / "report.html").is_file():
                self.write()
            return
        with contextlib.ExitStack() as held:
            for part in self.parts:
                held.enter_context(locked(RunFolder(self.run / f"parts/{part.name}", create=True).path, shard))
            chosen, failed, left_out = self.select(self.listen(model, shard))
            for part in self.parts:
                self.log.say(f"Part {part.name} ({part.role}) is tested.")
                stages.act(chosen[part.name], shard)
        if shard is None:
            self.finish(chosen, failed, left_out)

    def finished(self, model: AudioLM | None) -> bool:
        """Whether the folder holds this very study, every part finished."""
        manifest = self.run.read_json("manifest.json")
        if not manifest or manifest.get("asked") != digest(msgspec.to_builtins(self.study)):
            return False
        runs = {part.name: RunFolder(self.run / f"parts/{part.name}") for part in self.parts}
        if not all((run / "items.parquet").is_file() for run in runs.values()):
            return False
        asked = [(part, part.asked(runs[part.of].read_table("items"))[0]) for part in self.parts]
        return all(finished(runs[p.name], p.study, model, corpus, self.fulls.get(p.name)) for p, corpus in asked)

    def listen(self, model: AudioLM | None, shard: Shard | None) -> dict[str, Listened]:
        """Hear the items of every part; parts of one corpus take the folds of its main part."""
        stages.begin(self.run, self.study)
        heard: dict[str, Listened] = {}
        for part in self.parts:
            main = heard[part.of] if part.role != MAIN else None
            corpus, stored = part.asked(main.items if main else None)
            run = RunFolder(self.run / f"parts/{part.name}", create=True)
            ranks = part.selects or part.role == SHARED
            task = Task(part.study, run, self.log, corpus, stored, self.fulls.get(part.name), part.selects, ranks)
            if main:
                assigned = folds_of(main.items) if part.study.corpus.id != TEXT_QUESTIONS else {}
                task = dataclasses.replace(task, steers_transferred=True, assigned=assigned, proved=main.proofs)
            self.log.say(f"Part {part.name} ({part.role}) listens.")
            heard[part.name] = stages.listen(task, model, shard)
            model = heard[part.name].model
        return heard

    def select(self, heard: Mapping[str, Listened]) -> tuple[dict[str, Selected], dict[str, str], dict[str, str]]:
        """Find the sets of every part, then give each part those of others that act there.

        Returns:
            part -> its sets, and those of others; part -> why it has no sets of its own, though it looks for them; corpus
            -> why its sets are not transferred.

        Raises:
            NotIdentifiable: no corpus has two emotions that the model knows.
        """
        own: dict[str, Selected] = {}
        failed: dict[str, NotIdentifiable] = {}
        for name, listened in heard.items():
            try:
                own[name] = stages.select(listened)
            except NotIdentifiable as error:
                error.args = (told_without_sets(error, listened.items),)
                failed[name], own[name] = error, stages.nothing_found(listened)
                self.log.say(f"Part {name}: {error}")
        if failed and not any(own[part.name].found.sets for part in self.parts if part.role == MAIN):
            raise next(iter(failed.values()))
        transferred, left_out = self._transferred(heard)
        for part in self.parts:
            if part.role != SHARED:
                transferred[part.name] = self._transferred_to(part, own)
        chosen = {
            name: dataclasses.replace(selected, transferred=transferred.get(name)) for name, selected in own.items()
        }
        return chosen, {name: str(error) for name, error in failed.items()}, left_out

    def _transferred_to(self, host: Part, own: Mapping[str, Selected]) -> FoundSets | None:
        """The headline's sets of other parts, which act in this one."""
        here = sorted(set(own[host.name].listened.items["fold"].drop_nulls()))
        most, same = self.study.probes.matched, host.study.corpus.id != TEXT_QUESTIONS
        sources = {other.name: own[other.name] for other in sources_for(host, self.parts)}
        made = [
            as_transferred(source.found, name, here, source.listened.headline, most, same)
            for name, source in sources.items()
        ]
        return gather([sets for sets in made if sets])

    def _transferred(self, heard: Mapping[str, Listened]) -> tuple[dict[str, FoundSets | None], dict[str, str]]:
        """The sets of all corpora for each shared part, found anew; and which corpora are left out, and why."""
        hosts = {part.name: part for part in self.parts if part.role == SHARED}
        if not hosts:
            (self.run / "agreement.parquet").unlink(missing_ok=True)
            return {}, {}
        listened = {part.of: heard[name] for name, part in hosts.items()}
        sources = [
            Source(name, Activity.open(heard.run / "activity.zarr"), heard.items) for name, heard in listened.items()
        ]
        spec = shared_spec(next(iter(listened.values())).study, self.shared)
        left_out = equal_samples(sources, spec).left_out
        for name, why in left_out.items():
            self.log.say(f"Sets of {name} are not transferred: {why}")
        self.run.write_table("agreement", score_agreement(sources, spec))
        made: dict[str, FoundSets | None] = {}
        for name, part in hosts.items():
            sets = transfer_sets(sources, part.of, spec, self.study.transfer.fuse, self.study.transfer.consistency)
            transferred = made[name] = gather(list(sets.values()))
            if transferred:
                # found for this part alone: those that are transferred lie in the part that found them
                transferred.save_sets(heard[name].run / "sets")
        return made, left_out

    def finish(self, chosen: Mapping[str, Selected], failed: Mapping[str, str], left_out: Mapping[str, str]) -> None:
        """Write the manifest, the tables and the report of the whole."""
        self._measure_activity(chosen)
        manifests = {name: selected.listened.run.read_json("manifest.json") for name, selected in chosen.items()}
        first = manifests[self.parts[0].name]
        manifest = {
            "format": FORMAT,
            **{key: first[key] for key in ("emoscope", "model", "headline", "environment", "proofs")},
            "study": msgspec.to_builtins(self.study),
            "asked": digest(msgspec.to_builtins(self.study)),
            **compared(self.run, self.study),
            "parts": [{**part.card, "failed": failed.get(part.name)} for part in self.parts],
            "shared_emotions": list(self.shared),
            "not_transferred": left_out,
            **({"pilot": {name: manifests[name].get("pilot") for name in self.fulls}} if self.fulls else {}),
        }
        self.run.write_json("manifest.json", {**manifest, "timing": timing(self.log)})
        stages.settle_pages(self.run, hold=False)
        with self.log.stage("writing the report of the whole", 1):
            self.write()
        self.run.write_json("manifest.json", {**manifest, "timing": timing(self.log)})
        for name in ("answers", "units", "sets", "cache"):
            # of the parts only
            with contextlib.suppress(OSError):
                (self.run / name).rmdir()
        self.log.event("done", **timing(self.log))

    def write(self) -> None:
        """Write the tables and the report of the whole."""
        from emoscope.chapters.pages import build_report
        from emoscope.chapters.results import write_study_tables

        build_report(write_study_tables(self.run.path))

    def _measure_activity(self, chosen: Mapping[str, Selected]) -> None:
        """What the sets of each corpus do on what takes the place of the voice."""
        for part in self.parts:
            without = [other for other in self.parts if (other.role, other.of) == (GROUNDING, part.name)]
            grounding = {other.study.question.presentation: chosen[other.name].listened.run for other in without}
            selected = chosen[part.name]
            if part.role == MAIN and grounding and selected.found.sets:
                heard = selected.listened
                write_set_activity(heard.run, grounding, heard.headline, heard.study.identify.scope)


def shared_spec(study: Study, emotions: Sequence[str]) -> SetSpec:
    """Which sets are transferred: the headline's, on the emotions that all corpora share."""
    spec = set_spec(study, emotions, 0)
    return dataclasses.replace(spec, budgets=(spec.headline[1],))
