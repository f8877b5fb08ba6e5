"""Every choice of a study, typed, with its default, unit and meaning."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any

from msgspec import UNSET, Meta, Struct, UnsetType, field
from msgspec.structs import replace

from emoscope.vocabulary import AGNOSTIC

if TYPE_CHECKING:
    from emoscope.models.lookup import Card

SELECTORS = ("lap", "lape", "mad", "cas")
"""The selectors that a study compares by default."""

FUSIONS = ("overlap", "joint", "consistency")
"""Ways to fuse the sets of several corpora."""

SCOPES = ("audio", "text", "decision", "answer")
"""The positions that statistics can count."""

ALPHAS = (-0.5, 0.25, 0.5, 1.0, 2.0, 4.0)
"""The steering strengths of the headline's sets by default."""

Row = Mapping[str, Any]
"""A row of a stored table, such as an item or a condition, by its columns (``data/tables.toml`` has their types)."""

PILOT_DRAWS = {"matched": 2, "random": 1, "shuffled": 1, "orthogonal": 2, "quiet": 1}
"""Draws of each control in a pilot, at most."""

Words = tuple[str, ...]
Positive = Annotated[int, Meta(ge=1)]
Natural = Annotated[int, Meta(ge=0)]


class StudyError(ValueError):
    """A study file that cannot be run, with the field and the remedy."""


class _Section(Struct, forbid_unknown_fields=True, frozen=True, kw_only=True):
    """Fields with their types, what the comment in a study file says of them, and limits."""


class Model(_Section, frozen=True):
    """Which model is asked."""

    id: Annotated[str, '"tiny" (embedded), a hub name or a checkpoint folder'] = "tiny"
    dtype: Annotated[str, '"auto" is float32 on a CPU, else the checkpoint\'s'] = "auto"
    device: Annotated[str, '"auto" takes a GPU where there is one'] = "auto"
    revision: Annotated[str, "branch, tag or commit on the hub; empty: its main branch"] = ""
    attention: Annotated[str, 'attention of transformers, such as "sdpa" or "eager"'] = "sdpa"
    device_map: Annotated[str, '"auto" spreads the layers over all GPUs (needs accelerate)'] = ""
    quantise: Annotated[str, '"8bit" or "4bit" (needs bitsandbytes); empty: as stored'] = ""
    side: Annotated[dict[str, str], 'further checkpoints it needs: { audio_tokenizer = "folder or hub name" }'] = {}
    positions_per_batch: Annotated[
        Annotated[int, Meta(ge=64)] | None, "rows x positions of one pass; none: by the machine"
    ] = None
    equality: Annotated[
        str, 'of other machines and thread counts: "bytes" takes no answers, "tolerance" those that are shown to agree'
    ] = "bytes"
    allow_trained_on: Annotated[bool, "evaluate clips on which the model was trained"] = False


class CorpusChoice(_Section, frozen=True):
    """Which clips are heard."""

    id: Annotated[str, 'a corpus of `emoscope corpus list`, "folder" or "table"'] = "polish"
    root: Annotated[str, "folder or table file; ~ and $VARIABLES are filled in"] = ""
    emotions: Annotated[Words, "labels offered as options; empty: all in the corpus"] = ()
    # those of another column than the one that is asked stand under its name: emotion = { new = [old, old] }
    merge: Annotated[dict[str, Words | dict[str, Words]], "labels taken together, new = [old, old]"] = {}
    where: Annotated[dict[str, Any], 'filter by any column: take = [3, 4], speaker = "1-9"'] = {}
    clips_per_emotion: Annotated[Positive | None, "clips heard per emotion (and side), at most; none: by quota"] = None
    loudness: Annotated[str, '"normalised" (RMS 0.05) or "as recorded"'] = "normalised"
    columns: Annotated[dict[str, str], "table: which column is path, emotion, speaker ..."] = {}
    audio_root: Annotated[str, "table: folder of its relative paths; the table's own by default"] = ""
    labels: Annotated[dict[str, str], "folder, table: words emoscope does not know = emotion"] = {}
    pattern: Annotated[str, 'folder: "{emotion}/{speaker}_{}.wav"; empty: a folder per emotion'] = ""
    options: Annotated[dict[str, Any], "what else the corpus's reader takes: { all_codes = true } of iemocap"] = {}


class QuestionChoice(_Section, frozen=True):
    """How a clip is asked about."""

    wording: Annotated[str | Words, "a key of emoscope.questions.WORDINGS, or several: each clip is asked in all"] = (
        "lettered"
    )
    letter_orders: Annotated[int | str, 'letter orders asked per clip, or "all" rotations'] = 1
    presentation: Annotated[str, 'what is heard: "audio", "noise" as long and as loud, or the "transcript" as text'] = (
        "audio"
    )

    @property
    def wordings(self) -> Words:
        """The wordings in which every clip is asked."""
        return (self.wording,) if isinstance(self.wording, str) else self.wording


class Identify(_Section, frozen=True):
    """From which items neurons are found, and how."""

    label: Annotated[str, "the label column that is asked"] = "emotion"
    scope: Annotated[str, "positions that statistics count, joined by +, or all"] = "audio+answer"
    store: Annotated[Words, "scopes kept in activity.zarr"] = SCOPES
    site: Annotated[str, '"gate": act(gate_proj(x)); "product": gate x up'] = "gate"
    folds: Annotated[str | int, "cross-fitting: a column, or a number of speaker folds"] = "speaker"
    split: Annotated[str, '"official": find on train and development, test on test; empty: cross-fit'] = ""
    items_per_emotion: Annotated[Positive, "correct clips per emotion and fold, at most"] = 100
    minimum: Annotated[Positive, "correct clips below which an emotion gets no set"] = 30
    selectors: Annotated[
        Words, "also lape-original, mad-z, mad-active, attribution, attribution-contrast, attribution-between"
    ] = SELECTORS
    lape_floor: Annotated[float, "LAPE's bar: this share of rates is at or below it", Meta(ge=0, lt=1)] = 0.95
    budgets: Annotated[tuple[float, ...], "shares of all neurons; empty: the headline's"] = ()
    compare_at_common_size: Annotated[bool, "all selectors also at the most neurons that each reaches"] = False
    sizes: Annotated[tuple[Positive, ...], "headline also on so few clips per emotion: [5, 20]"] = ()
    size_draws: Annotated[Positive, "draws of clips of each of these sizes"] = 3
    balance_letters: Annotated[
        bool, "choose clips so that the right option stands behind each letter equally often"
    ] = False
    where: Annotated[dict[str, Any], "with evaluate.where: fixed sides, no cross-fitting"] = {}


class Evaluate(_Section, frozen=True):
    """On which items interventions are tested."""

    where: Annotated[dict[str, Any], "with identify.where: fixed sides, no cross-fitting"] = {}
    items_per_emotion: Annotated[Positive, "clips per emotion, at most"] = 150
    allow_shared_speakers: Annotated[bool, "let a speaker be on both sides, or in two folds"] = False
    keep_unknown_speakers: Annotated[bool, "keep clips without a speaker where most clips have one"] = False


class Headline(_Section, frozen=True):
    """What is claimed, fixed before the evaluation; everything else is exploration."""

    selector: Annotated[str, "one of identify.selectors"] = "cas"
    budget: Annotated[float | None, "share of all neurons; none: the model's own"] = None
    alpha: Annotated[float, "steering strength: gain 1 + alpha", Meta(gt=0)] = 0.5


class Interventions(_Section, frozen=True):
    """What is done to the neurons."""

    deactivate: Annotated[Words, '"zero": activations are set to 0; also "mean": products to their mean'] = ("zero",)
    alphas: Annotated[tuple[float, ...], "strengths of the headline selector; below 0: weakened"] = ALPHAS
    sweep: Annotated[
        str, 'budgets besides the headline\'s: of "all" selectors, or of the "headline" selector alone'
    ] = "all"
    positions: Annotated[Words, "headline deactivation at these positions alone"] = SCOPES[:3]
    layers: Annotated[Words, 'headline in ranges alone: ["0-1", "2-3"] or ["thirds"]'] = ()
    reselect_in_ranges: Annotated[bool, "also the best neurons of each range of interventions.layers, equally many"] = (
        False
    )
    profile: Annotated[bool, "headline deactivated in each single layer alone"] = False
    agnostic: Annotated[Words, "steering without a label; see docs/method.md"] = AGNOSTIC
    reliance: Annotated[bool, "all MLPs off, each layer off, union of all sets off"] = True
    generate: Annotated[bool, "also generate text for baseline and headline conditions"] = True


class Controls(_Section, frozen=True):
    """Sets that are not selected for the emotion, under the same interventions."""

    matched: Annotated[Natural, "draws of same-layer neurons of like activity"] = 10
    quiet: Annotated[Natural, "draws of same-layer neurons that vary as much, and little with emotion"] = 0
    random: Annotated[Natural, "draws of neurons from anywhere"] = 5
    shuffled: Annotated[Natural, "selections on labels shuffled within speaker"] = 5
    permuted: Annotated[
        Natural,
        "so many of these selections in all for the permutation null of deactivation, which takes 19 to decide",
    ] = 0
    orthogonal: Annotated[Natural, "selections on names over which every label is spread evenly"] = 19
    outcomes: Annotated[bool, "also sets found on misses and on false alarms: percept or decision"] = False


class Transfer(_Section, frozen=True):
    """How the sets of each corpus act on the others, asked about the emotions that all share."""

    ask: Annotated[bool, "ask it, where there are several corpora"] = True
    fuse: Annotated[Words, "sets fused over all corpora; see docs/method.md"] = FUSIONS
    consistency: Annotated[float, "weight of the spread over corpora in consistency fusion", Meta(ge=0)] = 0.3
    matched: Annotated[Natural, "draws of matched controls of each of these sets"] = 5


class Probes(_Section, frozen=True):
    """The headline's sets on other questions about the same clips, and without the voice."""

    columns: Annotated[Words, 'further label columns, asked in turn: ["word"]'] = ()
    grounding: Annotated[Words, 'in place of the voice: "noise", "transcript"'] = ()
    side_effects: Annotated[Words, '"transcription" (word errors), "text" (no audio)'] = ()
    items_per_emotion: Annotated[Positive, "clips per emotion of each probe, at most"] = 50
    matched: Annotated[Natural, "draws of matched controls of each probe"] = 5


class Study(_Section, frozen=True):
    """A study: one model, one or several corpora, the questions, and what is done to the neurons.

    Example:
        >>> Study(name="mine").headline.selector
        'cas'
    """

    name: Annotated[str, "name of the run folder"] = "study"
    seed: Annotated[int, "seed of every random choice"] = 0
    # unset rather than empty, so that studies without it are stored as they always were
    imports: Annotated[Words | UnsetType, "Python files that register selectors, corpora, models or questions"] = field(
        default=UNSET, name="import"
    )
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
        budgets = self.identify.budgets if budget in self.identify.budgets else (budget, *self.identify.budgets)
        headline, identify = replace(self.headline, budget=budget), replace(self.identify, budgets=budgets)
        return replace(self, headline=headline, identify=identify)

    def pilot(self, clips: int) -> Study:
        """The same study on ``clips`` clips per emotion, with fewer control draws."""
        if clips < 2:
            raise StudyError(f"--pilot {clips}: give at least 2 clips per emotion")
        draws = {name: min(most, getattr(self.controls, name)) for name, most in PILOT_DRAWS.items()}
        least = max(1, min(20, clips // 4))
        few = replace(self.identify, items_per_emotion=clips, minimum=least, sizes=(), compare_at_common_size=False)
        return replace(
            self,
            name=f"{self.name}-pilot{clips}",
            corpora=tuple(replace(corpus, clips_per_emotion=clips) for corpus in self.corpora),
            identify=few,
            evaluate=replace(self.evaluate, items_per_emotion=clips),
            controls=replace(self.controls, **draws, permuted=0, outcomes=False),
        )
