"""The words that tables, studies and reports share, and the limits by which results are judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Literal, get_args

if TYPE_CHECKING:
    import polars as pl

Role = Literal[
    "reference",  # the baseline, and the null, which changes nothing
    "reliance",  # whole MLP layers off
    "agnostic",  # steering without a label
    "transferred",  # sets that another part of the study found
    "few clips",  # sets found on fewer clips
    "outcome",  # sets found on misses or on false alarms
    "other selector",  # sets of a selector other than the headline's
    "budget",  # sets of a budget other than the headline's
    "layers",  # the headline's sets within a range of layers
    "single layer",  # the headline's sets in one layer
    "position",  # the headline's sets at some positions only
    "to mean",  # neurons set to their mean
    "dose",  # amplified by another strength
    "headline",  # what the study declares, and its controls
]
"""What a condition is for; the first that fits."""
ROLES: tuple[Role, ...] = get_args(Role)

PartRole = Literal["main", "shared", "column", "grounding", "side effect"]
"""Role of a part of a study: the study on one corpus; the same clips asked about the emotions that all corpora share;
about another label column; with something else in place of the voice; and tasks that are no question about emotion."""
MAIN: Final = "main"
SHARED: Final = "shared"
COLUMN: Final = "column"
GROUNDING: Final = "grounding"
SIDE_EFFECT: Final = "side effect"


@dataclass(frozen=True)
class Presented:
    """What a question is asked about, in words; :data:`emoscope.experiments.prompts.PRESENTATIONS` says what is done."""

    role: PartRole | None = None  # of the part of a study that asks so; ``None`` where any study may
    heard: str = ""  # in figures and tables; empty where it is no question about a voice or its place
    ability: str = ""  # what else is tested, in figures and tables; empty where it is the study's own question
    asks: str = ""  # what the model is asked, in the paragraph on methods; where empty, as of ``audio``
    caveat: str = ""  # what a report says first


PRESENTED: Mapping[str, Presented] = {
    "audio": Presented(heard="voice", asks="which emotion it hears"),
    "transcript": Presented(
        GROUNDING,
        heard="transcript",
        asks="which emotion the speaker expresses, with what is said as text in place of the voice,",
        caveat="No voice is heard: what is said stands there as text. What lies above chance comes from the words, or from "
        "a bias.",
    ),
    "noise": Presented(
        GROUNDING,
        heard="noise",
        asks="which emotion it hears, with noise as long and as loud in place of the voice,",
        caveat="No voice is heard: noise as long and as loud takes its place. What lies above chance comes from length, "
        "from level, or from a bias.",
    ),
    "transcription": Presented(SIDE_EFFECT, ability="writing down the words"),
    "text": Presented(SIDE_EFFECT, ability="questions without sound"),
}
"""Presentations in the order of figures and tables. ``audio``, ``noise``: a sound and the question. ``transcript``: what
is said as text, and the question. ``transcription``: the sound, and the request to write down what is said. ``text``: a
question about no clip."""

USED: Final = "used"
"""What became of a clip that is heard; others are not needed, excluded or quarantined."""

Side = Literal["both", "identify", "evaluate"]
"""What a clip may do: identify neurons, test them, or both, in different folds."""

BASELINE: Final = "baseline"
NULL: Final = "null"
DEACTIVATE: Final = "deactivate"
STEER: Final = "steer"
RELIANCE: Final = "reliance"
KEEP: Final = "keep"
PATCH: Final = "patch"
"""What conditions do; :data:`emoscope.interventions.kinds.KINDS` says how."""
GAPS: Final[Mapping[str, str]] = {DEACTIVATE: "gap", STEER: "pull_gap"}
"""The measure on which each kind is judged: deactivation lowers it, steering raises it."""

INJECTED: Mapping[str, str] = {
    "two-pass": "the answered emotion (two-pass)",
    "mix": "all, in equal shares (mix)",
    "mix-own": "all, by the model’s answer (mix)",
    "mix-outputs": "each in turn, outputs mixed",
    "union": "all, in full (union)",
}
"""Ways to steer that need no label -> what is amplified, in words; ``two-pass`` and ``mix-outputs`` are arithmetic on
targeted steering."""
AGNOSTIC = tuple(INJECTED)

TARGET: Final = "target"
"""The column ``control`` of sets that were selected for the emotion, on all clips and layers."""
MATCHED: Final = "matched"
QUIET: Final = "quiet"
RANDOM: Final = "random"
SHUFFLED: Final = "shuffled"
ORTHOGONAL: Final = "orthogonal"
"""Controls (:data:`emoscope.neurons.controls.CONTROLS`) that studies, tables and pages name."""
FEWER: Final = "fewer"
RESELECTED: Final = "reselected"
"""Sets selected for the emotion on fewer clips, and within a range of layers; the latter also ends the range's name."""

Outcome = Literal["hits", "misses", "false-alarms"]
"""Where a clip has an emotion: in the voice and in the answer, in the voice alone, in the answer alone."""
OUTCOMES: dict[Outcome, str] = {"misses": "hits-as-misses", "false-alarms": "hits-as-false-alarms"}
"""The control found on each outcome -> the one found on as many hits of the same emotions, to compare it with."""
OUTCOME_CONTROLS = (*OUTCOMES, *OUTCOMES.values())


def role_of(condition: Mapping[str, object], headline: Mapping[str, object]) -> Role:
    """What a condition is for, by the first rule that fits.

    Args:
        condition: its row; columns that it lacks are those of every set, at all positions and in all layers.
        headline: selector, budget and alpha that the study declares.

    Example:
        >>> row = {"kind": "steer", "selector": "mad", "budget": 0.01, "alpha": 1.0, "control": "target"}
        >>> role_of(row, {"selector": "mad", "budget": 0.01, "alpha": 1.0})
        'headline'
        >>> role_of(row, {"selector": "mad", "budget": 0.01, "alpha": 0.5})
        'dose'
    """
    kind, control, layers = condition["kind"], condition.get("control"), str(condition.get("layers") or "all")
    steered = kind == STEER and condition.get("alpha") != headline.get("alpha")
    rules: tuple[tuple[bool, Role], ...] = (
        (condition.get("source") is not None, "transferred"),
        (kind in (BASELINE, NULL), "reference"),
        (kind == RELIANCE, "reliance"),
        (kind in AGNOSTIC, "agnostic"),
        (control == FEWER, "few clips"),
        (control in OUTCOME_CONTROLS, "outcome"),
        (condition.get("selector") != headline.get("selector"), "other selector"),
        (condition.get("budget") != headline.get("budget"), "budget"),
        (layers.isdecimal(), "single layer"),
        (layers != "all", "layers"),
        ((condition.get("positions") or "all") != "all", "position"),
        (condition.get("to") == "mean", "to mean"),
        (steered, "dose"),
    )
    return next((role for fits, role in rules if fits), "headline")


def with_roles(frame: pl.DataFrame, headline: Mapping[str, object]) -> pl.DataFrame:
    """A table of conditions, or of families of them, with its roles: those that it lacks are worked out."""
    import polars as pl

    if "role" in frame.columns and not frame["role"].null_count():
        return frame
    roles = [row.get("role") or role_of(row, headline) for row in frame.iter_rows(named=True)]
    return frame.with_columns(pl.Series("role", roles, dtype=pl.String))


def acting(frame: pl.DataFrame, kind: str, *roles: Role) -> pl.DataFrame:
    """Rows of one kind of intervention in a table of families: selected sets, and means over the draws of controls.

    Args:
        roles: what the conditions are for; the headline's where none is given. Sets of other selectors are also set to
            their mean, which is left out.
    """
    import polars as pl

    wanted = roles or ("headline",)
    zero = pl.col("to").fill_null("zero").eq("zero") | (pl.col("role") == "to mean")
    selected_or_mean = (pl.col("control") == TARGET) | pl.col("draw").is_null()
    return frame.filter(pl.col("role").is_in(wanted) & (pl.col("kind") == kind) & zero & selected_or_mean)


LEAST_LETTER_MASS, LEAST_AGREEMENT = 0.5, 90.0
"""Probability on the letters, and agreement of written and likeliest answers in %, below which a condition supports no claim."""

MINIMUM_SPEAKERS = 5
"""Below this number of speakers no interval is given: too few to say how speakers vary."""

LEVEL = 0.05
"""A test whose p value stays below this is significant; intervals cover 1 minus this."""

FEWEST_PERMUTED = 19
"""Fewer draws of shuffled labels cannot say that something is rarer than ``LEVEL``."""
