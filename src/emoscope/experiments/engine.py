"""Run a study, or what is left of it: of several parts all listen, all find their sets, then the sets of each act in the others."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from emoscope.experiments.items import study_corpus
from emoscope.experiments.manifest import finished, timing
from emoscope.experiments.parts import COLUMN, GROUNDING, MAIN, SHARED, TEXT_QUESTIONS, Part, has_parts, plan_parts
from emoscope.experiments.stages import Pipeline, told_without_sets
from emoscope.experiments.study import Study, check_study, to_toml
from emoscope.runs import Log, RunFolder, Shard
from emoscope.runs.folder import FORMAT, digest, replacing
from emoscope.runs.shards import locked

if TYPE_CHECKING:
    import polars as pl

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
        study: the study.
        folder: the run folder.
        log: progress; quiet where it is not given.
        model: a loaded model, otherwise the study's is loaded.
        corpus: an opened corpus, otherwise the study's is opened.
        full: the study of which ``study`` is a pilot; the manifest then says what the pilot means for it.
        shard: do this share of the units only; a later call without it merges and writes tables and report.

    Returns:
        the run folder.

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
        if has_parts(study):
            if corpus is not None:
                raise ValueError("a study with several parts opens its corpora itself: give it without a corpus")
            run_whole(study, run, log, model, full, shard)
        else:
            _run(study, run, log, model, corpus, full, shard)
    return run


def _run(
    study: Study,
    run: RunFolder,
    log: Log,
    model: AudioLM | None,
    corpus: Corpus | None,
    full: Study | None,
    shard: Shard | None,
) -> None:
    from emoscope.analysis.tables import write_tables
    from emoscope.neurons.selection import NotIdentifiable
    from emoscope.report.page import build_report

    if corpus is not None:
        corpus = study_corpus(study, model.info.trained_on if model else study.card().trained_on, corpus)
    if finished(run, study, model, corpus, full):
        log.say(f"{run.path} holds this study, finished: nothing to run")
        if not ((run / "report.html").is_file() and (run / "tables" / "effects.parquet").is_file()):
            build_report(run.path, write_tables(run.path))
        return
    pipeline = Pipeline(study, run, log, model, corpus, full=full)
    pipeline.listen(shard)
    try:
        found = pipeline.select()
    except NotIdentifiable as why:
        if full:
            for sentence in pipeline.pilot()["verdict"]:
                log.say(sentence)
        if shard is None:
            pipeline.end_without_sets(why)
        raise
    if shard is None:
        pipeline.test(found)
    else:
        pipeline.intervene_share(found, shard)


def run_whole(
    study: Study,
    run: RunFolder,
    log: Log,
    model: AudioLM | None = None,
    full: Study | None = None,
    shard: Shard | None = None,
) -> None:
    """Run every part of a study, or what is left of it, and write the tables and the report of the whole.

    A part whose neurons cannot be found (the model does not know its emotions) is kept with its reason: its
    baseline answers, and what the sets of others do there, are results too.

    Args:
        study: a study with several parts (:func:`~emoscope.experiments.parts.has_parts`).
        run: the folder of the whole; each part has its own in ``parts/``.
        log: progress.
        model: a loaded model, otherwise the study's is loaded.
        full: the study of which ``study`` is a pilot.
        shard: do this share of the units of every part.

    Raises:
        NotIdentifiable: no corpus has two emotions that the model knows.
    """
    trained_on = model.info.trained_on if model else study.card().trained_on
    parts, shared = plan_parts(study, trained_on)
    fulls = {part.name: part.study for part in plan_parts(full, trained_on)[0] if part.role == MAIN} if full else {}
    if shard is None and _finished(study, run, parts, model, fulls):
        log.say(f"{run.path} holds this study, finished: nothing to run")
        if not (run / "report.html").is_file():
            _write_whole(run)
        return
    with _locked_parts(run, parts, shard):
        whole = Whole(study, run, log, parts, shared, model, fulls)
        whole.listen(shard)
        whole.select()
        whole.act(shard)
    if shard is None:
        whole.finish()


@contextmanager
def _locked_parts(run: RunFolder, parts: list[Part], shard: Shard | None) -> Iterator[None]:
    with ExitStack() as stack:
        for part in parts:
            stack.enter_context(locked(RunFolder(run / f"parts/{part.name}", create=True).path, shard))
        yield


def _finished(
    study: Study, run: RunFolder, parts: list[Part], model: AudioLM | None, fulls: Mapping[str, Study]
) -> bool:
    manifest = run.read_json("manifest.json")
    if not manifest or manifest.get("asked") != digest(msgspec.to_builtins(study)):
        return False
    if not all((run / f"parts/{part.name}/items.parquet").is_file() for part in parts):
        return False
    return all(
        finished(
            RunFolder(run / f"parts/{part.name}"), part.study, model,
            part.asked(RunFolder(run / f"parts/{part.of}").read_table("items"))[0], fulls.get(part.name),
        )
        for part in parts
    )  # fmt: skip


def folds(items: pl.DataFrame) -> dict[str, str]:
    """The fold of every clip that has one: clip -> fold."""
    dealt = items.filter(items["fold"].is_not_null()).unique("clip", keep="first", maintain_order=True)
    return dict(dealt.select("clip", "fold").iter_rows())


@dataclass
class Whole:
    """A study of several parts in its run folder.

    Attributes:
        study: the whole study.
        run: its folder.
        log: progress.
        parts: in the order in which they are run.
        shared: the emotions that all corpora share, where transfer is asked.
        model: the model, once it is loaded.
        fulls: main part -> the study of which it is a pilot.
        pipelines: part -> its stages.
        found: part -> its sets.
        failed: part -> why it has no sets of its own, though it looks for them.
        left_out: corpus -> why its sets are not transferred.
    """

    study: Study
    run: RunFolder
    log: Log
    parts: list[Part]
    shared: tuple[str, ...]
    model: AudioLM | None = None
    fulls: Mapping[str, Study] = field(default_factory=dict)
    pipelines: dict[str, Pipeline] = field(default_factory=dict)
    found: dict[str, FoundSets] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)

    def listen(self, shard: Shard | None) -> None:
        """Hear the items of every part; parts of one corpus take the folds of its main part."""
        with replacing(self.run / "study.toml") as partial:
            partial.write_text(to_toml(self.study), encoding="utf-8")
        (self.run / "manifest.json").unlink(missing_ok=True)
        for part in self.parts:
            folder = RunFolder(self.run / f"parts/{part.name}", create=True)
            corpus, stored = part.asked(None if part.role == MAIN else self.pipelines[part.of].items)
            pipeline = Pipeline(
                part.study, folder, self.log, self.model, corpus, stored, full=self.fulls.get(part.name),
                selects=part.selects, steer_foreign=part.role != MAIN,
            )  # fmt: skip
            if part.role != MAIN:
                main = self.pipelines[part.of]
                pipeline.proved = main.proofs
                if part.study.corpus.id != TEXT_QUESTIONS:
                    pipeline.dealt = folds(main.items)
            self.log.say(f"Part {part.name} ({part.role}) listens.")
            pipeline.listen(shard)
            self.model = pipeline.model
            self.pipelines[part.name] = pipeline

    def select(self) -> None:
        """Find the sets of every part, then give each part those of others that act there."""
        from emoscope.neurons.selection import NotIdentifiable

        first: NotIdentifiable | None = None
        for part in self.parts:
            pipeline = self.pipelines[part.name]
            try:
                self.found[part.name] = pipeline.select()
            except NotIdentifiable as error:
                error.args = (told_without_sets(error, pipeline.items),)
                first = first or error
                self.failed[part.name] = str(error)
                self.found[part.name] = pipeline.nothing_found()
                self.log.say(f"Part {part.name}: {error}")
        if first and not any(self.found[part.name].sets for part in self.parts if part.role == MAIN):
            raise first
        self._transfer()
        for part in self.parts:
            if part.role not in (MAIN, SHARED):
                self._lend([self._main(part)], part)
            elif part.role == MAIN:
                self._lend([one for one in self.parts if (one.of, one.role) == (part.name, COLUMN)], part)

    def _main(self, part: Part) -> Part:
        return next(one for one in self.parts if one.name == part.of)

    def _lend(self, sources: list[Part], host: Part) -> None:
        """Let the headline's sets of some parts act in another one."""
        from emoscope.neurons.transfer import gather, lend

        pipeline = self.pipelines[host.name]
        here = sorted(set(pipeline.items["fold"].drop_nulls()))
        most, same = self.study.probes.matched, host.study.corpus.id != TEXT_QUESTIONS
        made = [lend(self.found[one.name], one.name, here, self._headline(one), most, same) for one in sources]
        pipeline.foreign = gather([one for one in made if one])

    def _headline(self, part: Part) -> tuple[str, float]:
        head = self.pipelines[part.name].study.headline
        assert head.budget is not None
        return head.selector, head.budget

    def _transfer(self) -> None:
        hosts = [part for part in self.parts if part.role == SHARED]
        if not hosts:
            (self.run / "agreement.parquet").unlink(missing_ok=True)
            return
        from emoscope.neurons.activity import Activity
        from emoscope.neurons.sources import Source, equal_samples, score_agreement
        from emoscope.neurons.transfer import gather, transfer_sets

        listened = {part.of: self.pipelines[part.name] for part in hosts}
        sources = [Source(name, Activity.open(one.run / "activity.zarr"), one.items) for name, one in listened.items()]
        spec = self._spec(hosts[0])
        self.left_out = equal_samples(sources, spec).left_out
        for name, why in self.left_out.items():
            self.log.say(f"Sets of {name} are not transferred: {why}")
        self.run.write_table("agreement", score_agreement(sources, spec))
        for part in hosts:
            made = transfer_sets(sources, part.of, spec, self.study.transfer.fuse, self.study.transfer.consistency)
            foreign = self.pipelines[part.name].foreign = gather(list(made.values()))
            if foreign:
                # found for this part alone: those that are lent lie in the part that found them
                foreign.save_sets(self.pipelines[part.name].run / "sets")

    def _spec(self, part: Part) -> SetSpec:
        from emoscope.neurons.set_spec import SetSpec

        study, headline = self.pipelines[part.name].study, self._headline(part)
        return SetSpec(
            emotions=self.shared, selectors=study.identify.selectors, budgets=(headline[1],),
            scope=study.identify.scope, site=study.identify.site, items_per_emotion=study.identify.items_per_emotion,
            minimum=study.identify.minimum, matched=self.study.transfer.matched, random=0, shuffled=0,
            headline=headline, seed=study.seed, label=study.identify.label, floor=study.identify.lape_floor,
            balance_letters=study.identify.balance_letters,
        )  # fmt: skip

    def act(self, shard: Shard | None) -> None:
        """Ask every condition of every part."""
        for part in self.parts:
            pipeline = self.pipelines[part.name]
            self.log.say(f"Part {part.name} ({part.role}) is tested.")
            if shard is None:
                pipeline.test(self.found[part.name])
            else:
                pipeline.intervene_share(self.found[part.name], shard)

    def finish(self) -> None:
        """Write the manifest, the tables and the report of the whole."""
        self._measure_activity()
        manifest = {
            "format": FORMAT,
            **{key: self._first()[key] for key in ("emoscope", "model", "headline", "environment", "proofs")},
            "study": msgspec.to_builtins(self.study),
            "asked": digest(msgspec.to_builtins(self.study)),
            "parts": [self.card(part) for part in self.parts],
            "shared_emotions": list(self.shared),
            "not_transferred": self.left_out,
            **({"pilot": {name: self._manifest(name).get("pilot") for name in self.fulls}} if self.fulls else {}),
        }
        self.run.write_json("manifest.json", {**manifest, "timing": timing(self.log)})
        with self.log.stage("writing the report of the whole", 1):
            _write_whole(self.run)
        self.run.write_json("manifest.json", {**manifest, "timing": timing(self.log)})
        for name in ("answers", "units", "sets", "cache"):
            # of the parts only
            with contextlib.suppress(OSError):
                (self.run / name).rmdir()
        self.log.event("done", **timing(self.log))

    def _measure_activity(self) -> None:
        """What the sets of each corpus do on what takes the place of the voice."""
        from emoscope.experiments.measures import write_set_activity

        for part in self.parts:
            grounding = {
                one.study.question.presentation: self.pipelines[one.name].run
                for one in self.parts
                if (one.role, one.of) == (GROUNDING, part.name)
            }
            if part.role == MAIN and grounding and self.found[part.name].sets:
                scope = self.pipelines[part.name].study.identify.scope
                write_set_activity(self.pipelines[part.name].run, grounding, self._headline(part), scope)

    def card(self, part: Part) -> dict[str, Any]:
        """What the manifest says of a part."""
        return {
            "name": part.name, "role": part.role, "corpus": part.study.corpus.id, "of": part.of,
            "column": part.study.identify.label if part.role == COLUMN else None,
            "presentation": part.study.question.presentation, "folder": f"parts/{part.name}",
            "failed": self.failed.get(part.name),
        }  # fmt: skip

    def _manifest(self, name: str) -> dict[str, Any]:
        return dict(self.pipelines[name].run.read_json("manifest.json"))

    def _first(self) -> dict[str, Any]:
        return self._manifest(self.parts[0].name)


def _write_whole(run: RunFolder) -> None:
    from emoscope.analysis.whole import write_whole_tables
    from emoscope.report.whole.page import build_whole_report

    build_whole_report(run.path, write_whole_tables(run.path))
