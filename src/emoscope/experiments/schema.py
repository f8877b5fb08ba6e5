"""Every choice of a study, typed, with its default, unit and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

import msgspec
from msgspec import Meta, Struct

from emoscope.vocabulary import AGNOSTIC

if TYPE_CHECKING:
    from emoscope.models.lookup import Card

SELECTORS = ("lap", "lape", "mad", "cas")
"""The selectors that a study compares by default."""

FUSIONS = ("overlap", "joint", "consistency")
"""Ways to fuse the sets of several corpora."""

Row = Mapping[str, Any]
"""A row of a stored table, such as an item or a condition, by its columns (``data/tables.toml`` has their types)."""


class StudyError(ValueError):
    """A study file that cannot be run, with the field and the remedy."""


class _Section(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    pass


class Model(_Section, frozen=True):
    """Which model is asked."""

    id: Annotated[str, Meta(description='"tiny" (embedded), a hub name or a checkpoint folder')] = "tiny"
    dtype: Annotated[str, Meta(description='"auto" is float32 on a CPU, else the checkpoint\'s')] = "auto"
    device: Annotated[str, Meta(description='"auto" takes a GPU where there is one')] = "auto"
    revision: Annotated[str, Meta(description="branch, tag or commit on the hub; empty: its main branch")] = ""
    attention: Annotated[str, Meta(description='attention of transformers, such as "sdpa" or "eager"')] = "sdpa"
    device_map: Annotated[str, Meta(description='"auto" spreads the layers over all GPUs (needs accelerate)')] = ""
    quantise: Annotated[str, Meta(description='"8bit" or "4bit" (needs bitsandbytes); empty: as stored')] = ""
    side: Annotated[
        dict[str, str], Meta(description='further checkpoints it needs: { audio_tokenizer = "folder or hub name" }')
    ] = {}
    positions_per_batch: Annotated[
        Annotated[int, Meta(ge=64)] | None, Meta(description="rows x positions of one pass; none: by the machine")
    ] = None
    allow_trained_on: Annotated[bool, Meta(description="evaluate clips on which the model was trained")] = False


class CorpusChoice(_Section, frozen=True):
    """Which clips are heard."""

    id: Annotated[str, Meta(description='a corpus of `emoscope corpus list`, "folder" or "table"')] = "polish"
    root: Annotated[str, Meta(description="folder or table file; ~ and $VARIABLES are filled in")] = ""
    emotions: Annotated[tuple[str, ...], Meta(description="labels offered as options; empty: all in the corpus")] = ()
    # those of another column than the one that is asked stand under its name: emotion = { new = [old, old] }
    merge: Annotated[
        dict[str, tuple[str, ...] | dict[str, tuple[str, ...]]],
        Meta(description="labels taken together, new = [old, old]"),
    ] = {}
    where: Annotated[dict[str, Any], Meta(description='filter by any column: take = [3, 4], speaker = "1-9"')] = {}
    clips_per_emotion: Annotated[
        Annotated[int, Meta(ge=1)] | None,
        Meta(description="clips heard per emotion (and side), at most; none: by quota"),
    ] = None
    loudness: Annotated[str, Meta(description='"normalised" (RMS 0.05) or "as recorded"')] = "normalised"
    columns: Annotated[dict[str, str], Meta(description="table: which column is path, emotion, speaker ...")] = {}
    audio_root: Annotated[str, Meta(description="table: folder of its relative paths; the table's own by default")] = ""
    labels: Annotated[dict[str, str], Meta(description="folder, table: words emoscope does not know = emotion")] = {}
    pattern: Annotated[str, Meta(description='folder: "{emotion}/{speaker}_{}.wav"; empty: a folder per emotion')] = ""
    options: Annotated[
        dict[str, Any], Meta(description="what else the corpus's reader takes: { all_codes = true } of iemocap")
    ] = {}


class QuestionChoice(_Section, frozen=True):
    """How a clip is asked about."""

    wording: Annotated[
        str | tuple[str, ...],
        Meta(description="a key of emoscope.questions.WORDINGS, or several: each clip is asked in all"),
    ] = "lettered"
    letter_orders: Annotated[int | str, Meta(description='letter orders asked per clip, or "all" rotations')] = 1
    presentation: Annotated[
        str, Meta(description='what is heard: "audio", "noise" as long and as loud, or the "transcript" as text')
    ] = "audio"

    @property
    def wordings(self) -> tuple[str, ...]:
        """The wordings in which every clip is asked."""
        return (self.wording,) if isinstance(self.wording, str) else self.wording


class Identify(_Section, frozen=True):
    """From which items neurons are found, and how."""

    label: Annotated[str, Meta(description="the label column that is asked")] = "emotion"
    scope: Annotated[str, Meta(description="positions that statistics count, joined by +, or all")] = "audio+answer"
    store: Annotated[tuple[str, ...], Meta(description="scopes kept in activity.zarr")] = (
        "audio",
        "text",
        "decision",
        "answer",
    )
    site: Annotated[str, Meta(description='"gate": act(gate_proj(x)); "product": gate x up')] = "gate"
    folds: Annotated[str | int, Meta(description="cross-fitting: a column, or a number of speaker folds")] = "speaker"
    split: Annotated[
        str, Meta(description='"official": find on train and development, test on test; empty: cross-fit')
    ] = ""
    items_per_emotion: Annotated[int, Meta(description="correct clips per emotion and fold, at most", ge=1)] = 100
    minimum: Annotated[int, Meta(description="correct clips below which an emotion gets no set", ge=1)] = 30
    selectors: Annotated[tuple[str, ...], Meta(description="also lape-original, mad-z, mad-active")] = SELECTORS
    lape_floor: Annotated[float, Meta(description="LAPE's bar: this share of rates is at or below it", ge=0, lt=1)] = (
        0.95
    )
    budgets: Annotated[tuple[float, ...], Meta(description="shares of all neurons; empty: the headline's")] = ()
    compare_at_common_size: Annotated[
        bool, Meta(description="all selectors also at the most neurons that each reaches")
    ] = False
    sizes: Annotated[
        tuple[Annotated[int, Meta(ge=1)], ...], Meta(description="headline also on so few clips per emotion: [5, 20]")
    ] = ()
    size_draws: Annotated[int, Meta(description="draws of clips of each of these sizes", ge=1)] = 3
    balance_letters: Annotated[
        bool, Meta(description="choose clips so that the right option stands behind each letter equally often")
    ] = False
    where: Annotated[dict[str, Any], Meta(description="with evaluate.where: fixed sides, no cross-fitting")] = {}


class Evaluate(_Section, frozen=True):
    """On which items interventions are tested."""

    where: Annotated[dict[str, Any], Meta(description="with identify.where: fixed sides, no cross-fitting")] = {}
    items_per_emotion: Annotated[int, Meta(description="clips per emotion, at most", ge=1)] = 150
    allow_shared_speakers: Annotated[bool, Meta(description="let a speaker be on both sides, or in two folds")] = False


class Headline(_Section, frozen=True):
    """What is claimed, fixed before the evaluation; everything else is exploration."""

    selector: Annotated[str, Meta(description="one of identify.selectors")] = "cas"
    budget: Annotated[float | None, Meta(description="share of all neurons; none: the model's own")] = None
    alpha: Annotated[float, Meta(description="steering strength: gain 1 + alpha", gt=0)] = 0.5


class Interventions(_Section, frozen=True):
    """What is done to the neurons."""

    deactivate: Annotated[
        tuple[str, ...], Meta(description='"zero": activations are set to 0; also "mean": products to their mean')
    ] = ("zero",)
    alphas: Annotated[tuple[float, ...], Meta(description="strengths of the headline selector; below 0: weakened")] = (
        -0.5,
        0.25,
        0.5,
        1.0,
        2.0,
        4.0,
    )
    sweep: Annotated[
        str,
        Meta(description='budgets besides the headline\'s: of "all" selectors, or of the "headline" selector alone'),
    ] = "all"
    positions: Annotated[tuple[str, ...], Meta(description="headline deactivation at these positions alone")] = (
        "audio",
        "text",
        "decision",
    )
    layers: Annotated[tuple[str, ...], Meta(description='headline in ranges alone: ["0-1", "2-3"] or ["thirds"]')] = ()
    reselect_in_ranges: Annotated[
        bool, Meta(description="also the best neurons of each range of interventions.layers, equally many")
    ] = False
    profile: Annotated[bool, Meta(description="headline deactivated in each single layer alone")] = False
    agnostic: Annotated[tuple[str, ...], Meta(description="steering without a label; see docs/method.md")] = AGNOSTIC
    reliance: Annotated[bool, Meta(description="all MLPs off, each layer off, union of all sets off")] = True
    generate: Annotated[bool, Meta(description="also generate text for baseline and headline conditions")] = True


class Controls(_Section, frozen=True):
    """Sets that are not selected for the emotion, under the same interventions."""

    matched: Annotated[int, Meta(description="draws of same-layer neurons of like activity", ge=0)] = 10
    random: Annotated[int, Meta(description="draws of neurons from anywhere", ge=0)] = 5
    shuffled: Annotated[int, Meta(description="selections on labels shuffled within speaker", ge=0)] = 5
    outcomes: Annotated[
        bool, Meta(description="also sets found on misses and on false alarms: percept or decision")
    ] = False


class Transfer(_Section, frozen=True):
    """How the sets of each corpus act on the others, asked about the emotions that all share."""

    ask: Annotated[bool, Meta(description="ask it, where there are several corpora")] = True
    fuse: Annotated[tuple[str, ...], Meta(description="sets fused over all corpora; see docs/method.md")] = FUSIONS
    consistency: Annotated[float, Meta(description="weight of the spread over corpora in consistency fusion", ge=0)] = (
        0.3
    )
    matched: Annotated[int, Meta(description="draws of matched controls of each of these sets", ge=0)] = 5


class Probes(_Section, frozen=True):
    """The headline's sets on other questions about the same clips, and without the voice."""

    columns: Annotated[tuple[str, ...], Meta(description='further label columns, asked in turn: ["word"]')] = ()
    grounding: Annotated[tuple[str, ...], Meta(description='in place of the voice: "noise", "transcript"')] = ()
    side_effects: Annotated[tuple[str, ...], Meta(description='"transcription" (word errors), "text" (no audio)')] = ()
    items_per_emotion: Annotated[int, Meta(description="clips per emotion of each probe, at most", ge=1)] = 50
    matched: Annotated[int, Meta(description="draws of matched controls of each probe", ge=0)] = 5


class Study(_Section, frozen=True):
    """A study: one model, one or several corpora, the questions, and what is done to the neurons.

    Example:
        >>> Study(name="mine").headline.selector
        'cas'
    """

    name: Annotated[str, Meta(description="name of the run folder")] = "study"
    seed: Annotated[int, Meta(description="seed of every random choice")] = 0
    model: Model = Model()
    corpora: tuple[CorpusChoice, ...] = (CorpusChoice(),)
    question: QuestionChoice = QuestionChoice()
    identify: Identify = Identify()
    evaluate: Evaluate = Evaluate()
    headline: Headline = Headline()
    interventions: Interventions = Interventions()
    controls: Controls = Controls()
    transfer: Transfer = Transfer()
    probes: Probes = Probes()

    def card(self) -> Card:
        """What the model's folder says of it, without its weights."""
        from emoscope.models.lookup import look_up

        return look_up(self.model.id, self.model.side, self.model.revision or None)

    @property
    def corpus(self) -> CorpusChoice:
        """The corpus of the study."""
        return self.corpora[0]

    def with_budget(self, recommended: float) -> Study:
        """Fill in budgets that were left to the model."""
        budget = self.headline.budget if self.headline.budget is not None else recommended
        budgets = self.identify.budgets or (budget,)
        if budget not in budgets:
            budgets = (budget, *budgets)
        return msgspec.structs.replace(
            self,
            headline=msgspec.structs.replace(self.headline, budget=budget),
            identify=msgspec.structs.replace(self.identify, budgets=budgets),
        )

    def pilot(self, clips: int) -> Study:
        """The same study on ``clips`` clips per emotion, with fewer control draws."""
        if clips < 2:
            raise StudyError(f"--pilot {clips}: give at least 2 clips per emotion")
        replace = msgspec.structs.replace
        few = self.controls
        return replace(
            self,
            name=f"{self.name}-pilot{clips}",
            corpora=tuple(replace(corpus, clips_per_emotion=clips) for corpus in self.corpora),
            identify=replace(
                self.identify,
                items_per_emotion=clips,
                minimum=max(1, min(20, clips // 4)),
                sizes=(),
                compare_at_common_size=False,
            ),
            evaluate=replace(self.evaluate, items_per_emotion=clips),
            controls=replace(
                few,
                matched=min(2, few.matched),
                random=min(1, few.random),
                shuffled=min(1, few.shuffled),
                outcomes=False,
            ),
        )
