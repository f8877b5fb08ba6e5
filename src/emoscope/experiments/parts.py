"""The parts of a study, each on one corpus with one question; and the dry run, which says what they ask."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl
from msgspec.structs import replace

from emoscope.corpora.clip import count_values
from emoscope.emotions import in_order
from emoscope.experiments.conditions import describe, plan_conditions, planned_sets, set_spec
from emoscope.experiments.heard import told_as_remembered
from emoscope.experiments.items import (
    asked_corpus,
    candidate_items,
    opened,
    shared_speakers,
    study_corpus,
    study_options,
    told_shared,
)
from emoscope.experiments.prompts import PRESENTATIONS, asked_wordings, spoken
from emoscope.experiments.schema import Controls, CorpusChoice, Interventions, Probes, Study, StudyError, Transfer
from emoscope.neurons.attributed import bytes_of
from emoscope.neurons.jobs import transferred_name
from emoscope.neurons.selectors import needs_gradients
from emoscope.vocabulary import COLUMN, MAIN, PRESENTED, SHARED

if TYPE_CHECKING:
    from rich.console import Console

    from emoscope.corpora import Corpus
    from emoscope.models.lookup import Card

TEXT_QUESTIONS = "text-questions"
"""The corpus of text-only questions."""


@dataclass(frozen=True)
class Part:
    """One part of a study."""

    name: str
    role: str
    study: Study  # one corpus, neither transfer nor probes; by itself it opens the clips that are asked about
    of: str  # the main part of the same corpus, whose folds it takes and whose sets act in it
    corpus: Corpus | None = None  # the main part's opened corpus; ``None`` for text questions, which have their own
    labels: tuple[str, ...] = ()  # those that a main part asks about, as the corpus itself has them; empty: all

    @property
    def selects(self) -> bool:
        """Whether neurons are found in it."""
        return self.role in (MAIN, COLUMN)

    @property
    def card(self) -> dict[str, str | None]:
        """What the manifest of the whole says of it."""
        label, presentation = self.study.identify.label, self.study.question.presentation
        column = label if self.role == COLUMN else None
        about = {"name": self.name, "role": self.role, "corpus": self.study.corpus.id, "of": self.of, "column": column}
        return {**about, "presentation": presentation, "folder": f"parts/{self.name}"}

    @property
    def opened(self) -> Corpus:
        """The main part's corpus."""
        assert self.corpus is not None
        return self.corpus

    @property
    def options(self) -> tuple[str, ...]:
        """The labels that are offered."""
        return study_options(self.study, self.opened)

    @property
    def columns(self) -> list[str]:
        """The label columns of the corpus that can be asked about: a question needs two labels."""
        labels = {label for clip in self.opened.clips for label in clip.labels.items()}
        return sorted(name for name, count in Counter(name for name, _ in labels).items() if count > 1)

    def asked(self, main: pl.DataFrame | None = None) -> tuple[Corpus, Study]:
        """The clips that the part asks about, and its study, which opens these by itself.

        Every question is about the same clips: those that the main part used, by its settled items.
        """
        study, label = self.study, self.study.identify.label
        if self.role == MAIN or self.corpus is None or main is None:
            return self.corpus or study_corpus(study), study
        used = set(main.filter(main["status"] == "used")["clip"])
        unused = [clip.id for clip in self.corpus.clips if clip.id not in used]
        corpus = self.corpus.lose("excluded", dict.fromkeys(unused, f"not used in part {self.of}"))
        if unused:
            where = {**study.corpus.where, "clip": sorted(used)}
            study = replace(study, corpora=(replace(study.corpus, where=where),))
        return asked_corpus(corpus, study.corpus.emotions, label, study.evaluate.keep_unknown_speakers), study


def has_parts(study: Study) -> bool:
    """Whether a study asks more than one question: several corpora, or probes.

    Example:
        >>> has_parts(Study()), has_parts(Study(probes=Probes(columns=("word",))))
        (False, True)
    """
    probes = study.probes
    return len(study.corpora) > 1 or bool(probes.columns or probes.grounding or probes.side_effects)


def plan_parts(study: Study, trained_on: Sequence[Mapping[str, object]]) -> tuple[list[Part], tuple[str, ...]]:
    """Cut a study into its parts; every corpus is opened.

    Returns:
        the parts, in the order in which they are run, those that find neurons first; and the emotions that all
        corpora share (none where transfer is not asked).

    Raises:
        StudyError: a corpus that cannot be asked, a column that no corpus has, one with more labels than there are
            letters, or corpora that share fewer than two emotions.
    """
    probes = study.probes
    mains = [_opened_main(name, own, trained_on) for name, own in main_studies(study).items()]
    _refuse_unknown_columns(study, mains)
    shared = _shared_emotions(study, mains)
    parts = list(mains)
    parts += [_column(study, part, name) for part in mains for name in probes.columns if name in part.columns]
    parts += [_shared(study, part, shared) for part in mains if shared]
    for part in mains:
        known = any(spoken(clip) for clip in part.opened.clips)
        for kind in (*probes.grounding, *probes.side_effects):
            if known or not PRESENTATIONS[kind].needs_words:
                parts.append(_probe(study, part, kind))
    return parts, shared


def main_studies(study: Study) -> dict[str, Study]:
    """The study on each corpus by itself: name of the main part -> study. Nothing is opened.

    A part is named by its corpus, numbered where one is there twice.
    """
    own, studies = replace(study, transfer=Transfer(ask=False), probes=Probes()), dict[str, Study]()
    for choice in study.corpora:
        count = sum(name == choice.id or name.startswith(f"{choice.id}-") for name in studies)
        name = f"{choice.id}-{count + 1}" if count else choice.id
        studies[name] = replace(own, name=f"{study.name}.{name}", corpora=(choice,))
    return studies


def _opened_main(name: str, study: Study, trained_on: Sequence[Mapping[str, object]]) -> Part:
    """A main part with its opened corpus."""
    before = opened(study.corpus)
    corpus = study_corpus(study, trained_on, before)
    kept = {clip.id for clip in corpus.clips} if study.corpus.emotions else ()
    labels = count_values([clip for clip in before.clips if clip.id in kept], study.identify.label)
    return Part(name, MAIN, study, name, corpus, tuple(labels))


def _shared_emotions(study: Study, mains: Sequence[Part]) -> tuple[str, ...]:
    if len(mains) < 2 or not study.transfer.ask:
        return ()
    options = {part.name: part.options for part in mains}
    common = set.intersection(*(set(labels) for labels in options.values()))
    if len(common) < 2:
        asked = "; ".join(f"{name}: {', '.join(labels)}" for name, labels in options.items())
        raise StudyError(
            f"the corpora share {len(common)} of the emotions that are asked about ({asked}): transfer needs two; take "
            "labels together with corpora.merge, or set transfer.ask = false"
        )
    return in_order(common)


def _refuse_unknown_columns(study: Study, mains: Sequence[Part]) -> None:
    there = {name for part in mains for name in part.columns}
    for column in study.probes.columns:
        if column not in there:
            raise StudyError(
                f"probes.columns {column!r}: no corpus has two labels of it; columns that can be asked are "
                f"{', '.join(sorted(there - {study.identify.label})) or 'none'}"
            )


def _few(study: Study, matched: int) -> Study:
    """The study with nothing but what transferred sets need: zero, the headline's strength, matched controls."""
    return replace(
        study,
        interventions=Interventions(alphas=(), positions=(), layers=(), agnostic=(), reliance=False, generate=False),
        controls=Controls(matched=matched, random=0, shuffled=0, orthogonal=0),
        identify=replace(study.identify, sizes=(), compare_at_common_size=False),
    )


def _shared(study: Study, main: Part, emotions: tuple[str, ...]) -> Part:
    """The same clips, asked about the emotions that all corpora share."""
    few = _few(main.study, study.transfer.matched)
    choice = replace(few.corpus, emotions=emotions, clips_per_emotion=None)
    return _part(main, "shared", SHARED, replace(few, corpora=(choice,)), len(emotions))


def _column(study: Study, main: Part, column: str) -> Part:
    """The same clips, asked about another label column."""
    few = _few(main.study, study.probes.matched)
    identify = few.identify
    # what the main part asks is another column here: its labels are taken together and chosen under its name
    where = few.corpus.where | ({identify.label: list(main.labels)} if main.labels else {})
    own = {new: old for new, old in few.corpus.merge.items() if not isinstance(old, Mapping)}
    others = {of: merges for of, merges in few.corpus.merge.items() if isinstance(merges, Mapping)}
    merge = {**others, **({identify.label: own} if own else {})}
    asked = replace(
        few,
        corpora=(replace(few.corpus, emotions=(), merge=merge, where=where, clips_per_emotion=None),),
        identify=replace(identify, label=column, selectors=(few.headline.selector,), budgets=()),
        interventions=replace(few.interventions, generate=main.study.interventions.generate),
        evaluate=replace(few.evaluate, items_per_emotion=study.probes.items_per_emotion),
    )
    return _part(main, column, COLUMN, asked, len(study_options(asked, main.opened)))


def _probe(study: Study, main: Part, kind: str) -> Part:
    """Another presentation of the first clips of each emotion; or questions about no clip, which are a corpus of their own."""
    few, most, role = _few(main.study, study.probes.matched), study.probes.items_per_emotion, PRESENTED[kind].role
    assert role is not None
    question = replace(few.question, presentation=kind)
    if PRESENTATIONS[kind].of_clips:
        choice, evaluate = replace(few.corpus, clips_per_emotion=most), replace(few.evaluate, items_per_emotion=most)
        return _part(main, kind, role, replace(few, corpora=(choice,), evaluate=evaluate, question=question))
    asked = replace(
        few,
        corpora=(CorpusChoice(id=TEXT_QUESTIONS),),
        identify=replace(few.identify, label="answer", folds=5, split="", where={}),
        question=question,
        evaluate=replace(few.evaluate, where={}),
    )
    orders = len(study_options(asked, study_corpus(asked)))
    return dataclasses.replace(_part(main, kind, role, asked, orders), corpus=None)


def _part(main: Part, suffix: str, role: str, study: Study, options: int | None = None) -> Part:
    """A part beside a main part, with no more letter orders than it has options, which may be fewer than the study's."""
    question, orders = study.question, study.question.letter_orders
    if options is not None and isinstance(orders, int) and orders > options:
        question = replace(question, letter_orders=options)
    named = replace(study, name=f"{main.study.name}.{suffix}", question=question)
    return Part(f"{main.name}.{suffix}", role, named, main.name, main.corpus)


def sources_for(part: Part, parts: Sequence[Part]) -> list[Part]:
    """The parts whose own sets act in a part: probed columns in a main part, the main part in a probe, else none."""
    if part.role == SHARED:
        return []
    if part.role == MAIN:
        return [source for source in parts if (source.role, source.of) == (COLUMN, part.name)]
    return [source for source in parts if source.name == part.of]


def planned_transferred(
    part: Part, parts: Sequence[Part], study: Study, shared: tuple[str, ...]
) -> pl.DataFrame | None:
    """The sets of other parts that will act in a part at most; ``None`` where there are none."""
    found = {owner.name: owner.options for owner in sources_for(part, parts)}
    if part.role == SHARED:
        mains = [main.name for main in parts if main.role == MAIN]
        found = dict.fromkeys([*mains, *(f"fused: {how}" for how in study.transfer.fuse)], shared)
    matched = study.transfer.matched if part.role == SHARED else study.probes.matched
    frames = []
    for source, labels in found.items():
        spec = set_spec(part.study, labels, 0)
        spec = dataclasses.replace(spec, selectors=spec.headline[:1], budgets=spec.headline[1:], outcomes=False)
        sets = planned_sets(dataclasses.replace(spec, controls={"matched": matched}, sizes=(), common_size=False))
        named = [transferred_name(name, source) for name in sets["set"]]
        frames.append(sets.with_columns(pl.Series("set", named), source=pl.lit(source)))
    return pl.concat(frames) if frames else None


def dry_run(study: Study) -> None:
    """Print the clips a study can use, its conditions, and how many answers they take; of each part, if it has several."""
    from rich.console import Console

    card = study.card()
    study = study.with_budget(card.recommended_budget)
    console = Console()
    if card.note:
        console.print(f"Model: {card.note}.", highlight=False)
    if not has_parts(study):
        _show(console, card, study, study_corpus(study, card.trained_on))
    else:
        parts, shared = plan_parts(study, card.trained_on)
        of_all = f"; all corpora share {', '.join(shared)}" if shared else ""
        console.print(f"Study {study.name}: {len(parts)} parts{of_all}")
        total = 0
        for part in parts:
            console.print(f"\nPart {part.name} ({part.role})", style="bold")
            part = dataclasses.replace(part, study=part.study.with_budget(card.recommended_budget))
            corpus = part.corpus or study_corpus(part.study, card.trained_on)
            transferred = planned_transferred(part, parts, study, shared)
            total += _show(console, card, part.study, corpus, transferred, part.selects, part.role == MAIN)
        console.print(f"\nAll parts: {total:,} answers and what is listened to.")
    console.print("Nothing was run; `--pilot 20` in place of `--dry-run` measures how long an answer takes here.")


def too_few(study: Study, items: pl.DataFrame) -> list[str]:
    """Warnings about options that cannot get a set even if every clip is answered correctly, one a sentence.

    Example:
        >>> import polars as pl
        >>> items = pl.DataFrame({"clip": list("abcd"), "truth": ["anger", "anger", "fear", "fear"], "status": [None] * 4,
        ...     "side": ["both"] * 4, "fold": ["1", "2", "1", "1"]}, schema_overrides={"status": pl.String})
        >>> for sentence in too_few(Study(), items):
        ...     print(sentence)
        anger: at most 1 clip to find neurons on where 30 are needed (identify.minimum): it gets no set.
        fear: at most 0 clips to find neurons on where 30 are needed (identify.minimum): it gets no set.
        Fewer than two options can get a set, so the study would end without a result: add clips, or lower identify.minimum.
    """
    finding = items.filter(items["status"].is_null() & (items["side"] != "evaluate")).unique(
        "clip", maintain_order=True
    )
    folds = finding.filter(finding["side"] == "both")["fold"].drop_nulls().unique()
    sentences, options = [], in_order(items.filter(items["status"].is_null())["truth"].drop_nulls())
    least = study.identify.minimum
    for option in options:
        own = finding.filter(pl.col("truth") == option)
        most = min([own.filter(pl.col("fold").ne_missing(fold)).height for fold in folds] or [own.height])
        if most < least:
            clips = f"at most {most} clip{'s' * (most != 1)} to find neurons on where {least} are needed"
            sentences.append(f"{option}: {clips} (identify.minimum): it gets no set.")
    if sentences and len(options) - len(sentences) < 2:
        sentences.append(
            "Fewer than two options can get a set, so the study would end without a result: add clips, or lower "
            "identify.minimum."
        )
    return sentences


def _show(
    console: Console, card: Card, study: Study, corpus: Corpus, transferred: pl.DataFrame | None = None,
    selects: bool = True, main: bool = True,
) -> int:  # fmt: skip
    """Print one study; returns its answers under interventions."""
    from rich.table import Table

    for sentence in corpus.told:
        console.print(f"{sentence}.", highlight=False, markup=False)
    items = candidate_items(study, corpus)
    # further parts ask about clips of a main part, which tells of them
    for sentence in told_as_remembered(items, study.corpus.loudness) if main else ():
        console.print(f"{sentence}.", highlight=False, markup=False)
    open_items = items.filter(items["status"].is_null())
    quota = Counter(open_items.filter(open_items["side"] != "identify")["truth"].to_list())
    orders = (1 + max(open_items["order"].to_list(), default=0)) * len(asked_wordings(study))
    evaluated = sum(min(count, study.evaluate.items_per_emotion * orders) for count in quota.values())
    sets = planned_sets(set_spec(study, study_options(study, corpus), card.layers))
    conditions = plan_conditions(study, sets if selects else sets.clear(), card.layers, transferred, not main)
    model = f"{study.model.id} ({card.layers} layers x {card.width} neurons)"
    console.print(f"Study {study.name}: {model} on {corpus.info.title}")
    # a clip that is asked has an item for each wording and order of the letters; people count clips
    clips = open_items.unique("clip", maintain_order=True)["truth"].to_list()
    beyond = items.filter(items["status"] == "not needed").unique("clip", maintain_order=True)
    lost = Counter([*beyond["why"].to_list(), *items.filter(items["order"].is_null())["why"].to_list()])
    each = ", ".join(f"{count} {label}" for label, count in sorted(Counter(clips).items()))
    reasons = f" ({'; '.join(f'{n} {why}' for why, n in lost.items())})" if lost else ""
    console.print(
        f"Clips: {len(clips) + lost.total()} found, {len(clips)} may be asked, if their files can be heard ({each}), "
        f"{lost.total()} excluded{reasons}"
    )
    if shared := shared_speakers(items):
        console.print(told_shared(shared), highlight=False)
    for sentence in too_few(study, items) if selects else ():
        console.print(sentence, style="yellow", highlight=False, soft_wrap=True)
    table = Table("what", "conditions", "answers", title="Conditions", title_justify="left")
    total = 0
    for what, count, answers in describe(conditions, evaluated):
        asked = answers - evaluated if what == "baseline" else answers
        total += asked
        table.add_row(what, str(count), f"{asked:,}")
    table.add_row("in all", str(conditions.height), f"{total:,}", style="bold")
    console.print(table)
    size = open_items.height * card.layers * card.width * 12 / 1e9
    disk = f"Activity on disk: at most {size:.2f} GB before compression."
    console.print(f"Listening: {open_items.height:,} answers at most. {disk}")
    if selects and needs_gradients(study.identify.selectors):
        options = len(study_options(study, corpus))
        may_identify = open_items.filter(open_items["side"] != "evaluate").height
        size = may_identify * bytes_of(options, card.layers * card.width) / 1e9
        console.print(
            f"Attribution: {options - 1} backward passes for each of the {may_identify:,} items that may identify"
            f"{'' if study.controls.outcomes else ', where it is answered correctly'}; at most {size:.2f} GB on disk."
        )
    return total
