"""The chapters of a whole study's report: what each asks, says first, draws and tabulates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from emoscope.report.whole import probe_sentences as probes
from emoscope.report.whole import sentences
from emoscope.report.whole.content import COLUMN, GROUNDING, MAIN, SHARED, SIDE_EFFECT, Whole

NOT_OFF, NOT_AMPLIFIED = "no set was switched off", "no set was amplified"


@dataclass(frozen=True)
class Chapter:
    """One chapter.

    Attributes:
        id: the anchor.
        title: a few words, also for the list of chapters.
        question: what it asks.
        says: what it says first; nothing where no table tells.
        figures: name -> why a study lacks it.
        tables: names.
        roles: the parts whose reports tell more.
        section: the section of these reports.
    """

    id: str
    title: str
    question: str
    says: Callable[[Whole], Sequence[str]]
    figures: dict[str, str]
    tables: tuple[str, ...]
    roles: tuple[str, ...] = (MAIN,)
    section: str = ""


CHAPTERS = (
    Chapter("which", "Which neurons", "Does it matter by which rule neurons are selected?", sentences.selectors,
            {"selectors": "fewer than two selectors were switched off"}, ("selectors",), section="best"),
    Chapter("deactivation", "Deactivation", "What is lost when an emotion’s neurons are switched off?", sentences.deactivation,
            {"deactivation": NOT_OFF}, (), section="matter"),
    Chapter("steering", "Steering and dose", "What does amplification do, and does more of it do more?", sentences.steering,
            {"steering": NOT_AMPLIFIED, "dose": "neurons were amplified at fewer than two strengths"}, ("trend",), section="steer"),
    Chapter("data", "How little data", "From how few clips can the neurons be found?", sentences.efficiency,
            {"efficiency": "neurons were not found from smaller numbers of clips and switched off"}, ("efficiency",), section="best"),
    Chapter("layers", "Where in the layers", "In which layers do the neurons lie, and where do they act?", sentences.layers,
            {"layers": "no neuron sets are stored", "ranges": "sets were not restricted to ranges of layers", "profile": "sets were not switched off layer by layer"}, (), section="where"),
    Chapter("transfer", "Transfer and fusion", "Do neurons found on one corpus act on another, and do fused sets do better?", probes.transfer,
            {"transfer": "sets were not exchanged between corpora", "transfer_steer": "sets of other corpora were not amplified",
             "agreement": "scores of two corpora were not compared"},
            ("transfer", "asymmetry"), roles=(SHARED,)),
    Chapter("agnostic", "Without a label", "Does amplification help where nobody tells it the emotion?", sentences.agnostic,
            {"agnostic": "nothing was amplified without a label"}, (), section="steer"),
    Chapter("controls", "Controls and double dissociation", "Is it the emotion, or would any neurons do?", probes.controls,
            {"controls": "no control was switched off", "dissociation": "no other column of the same clips was asked"},
            ("outcomes", "arousal", "dissociation"), roles=(MAIN, COLUMN), section="matter"),
    Chapter("side-effects", "Side effects", "What else do the neurons cost?", probes.side_effects,
            {"side_effects": "no other ability was tested"}, ("side_effects",), roles=(COLUMN, SIDE_EFFECT)),
    Chapter("grounding", "Voice or words", "Do the neurons respond to the voice, or to what is said?", probes.grounding,
            {"grounding": "nothing was heard in place of the voice", "selectivity": "the sets’ activity without the voice was not recorded"},
            ("grounding", "within"), roles=(GROUNDING,)),
)  # fmt: skip
"""In the order of the page; the last chapter, what was run, has no such form."""
