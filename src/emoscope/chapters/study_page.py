"""The report of a study of several parts: the claims, then a chapter a question, over all of its corpora, on one page."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
from altair.utils.schemapi import debug_mode

from emoscope.chapters.agnostic import draw_agnostic_of_parts, say_agnostic
from emoscope.chapters.answers import tabulate_corpora
from emoscope.chapters.arousal import tabulate_arousal_of_parts
from emoscope.chapters.claims import as_text, claims_of_whole, grid
from emoscope.chapters.controls import draw_controls_of_parts, say_controls
from emoscope.chapters.deactivation import draw_deactivation_of_parts, say_deactivation
from emoscope.chapters.dissociation import draw_dissociation, tabulate_dissociation
from emoscope.chapters.efficiency import draw_efficiency_of_parts, say_efficiency, tabulate_efficiency_of_parts
from emoscope.chapters.grounding import draw_grounding, say_grounding, tabulate_grounding
from emoscope.chapters.layer_effects import draw_profile_of_parts, draw_ranges_of_parts
from emoscope.chapters.layers import draw_layers_of_parts, say_layers
from emoscope.chapters.outcomes import tabulate_outcomes_of_parts
from emoscope.chapters.published import tabulate_published_of_parts
from emoscope.chapters.results import STUDY_TABLES, WholeTables
from emoscope.chapters.selectivity import draw_selectivity
from emoscope.chapters.selectors import draw_selectors_of_parts, say_selectors, tabulate_selectors_of_parts
from emoscope.chapters.side_effects import draw_side_effects, say_side_effects, tabulate_side_effects
from emoscope.chapters.steering import draw_dose_of_parts, draw_steering_of_parts, say_steering, tabulate_trend_of_parts
from emoscope.chapters.transfer import (
    draw_agreement,
    draw_transfer,
    draw_transfer_steer,
    say_transfer,
    tabulate_asymmetry,
    tabulate_transfer,
)
from emoscope.chapters.within import tabulate_within_of_parts
from emoscope.report.caveats import limits_of_parts, pilot_of_parts, standing_of_parts
from emoscope.report.glossary import GLOSSARY
from emoscope.report.markup import pictures, to_html, to_latex
from emoscope.report.provenance import environment_of_parts, parts, proofs_of_parts, subject_of_parts
from emoscope.report.views import Whole, read_whole
from emoscope.runs.folder import RunFolder, replacing
from emoscope.vocabulary import COLUMN, GROUNDING, MAIN, SHARED, SIDE_EFFECT

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
    Chapter("which", "Which neurons", "Does it matter by which rule neurons are selected?", say_selectors,
            {"selectors": "fewer than two selectors were switched off"}, ("selectors",), section="best"),
    Chapter("deactivation", "Deactivation", "What is lost when an emotion’s neurons are switched off?", say_deactivation,
            {"deactivation": NOT_OFF}, (), section="matter"),
    Chapter("steering", "Steering and dose", "What does amplification do, and does more of it do more?", say_steering,
            {"steering": NOT_AMPLIFIED, "dose": "neurons were amplified at fewer than two strengths"}, ("trend",), section="steer"),
    Chapter("data", "How little data", "From how few clips can the neurons be found?", say_efficiency,
            {"efficiency": "neurons were not found from smaller numbers of clips and switched off"}, ("efficiency",), section="best"),
    Chapter("layers", "Where in the layers", "In which layers do the neurons lie, and where do they act?", say_layers,
            {"layers": "no neuron sets are stored", "ranges": "sets were not restricted to ranges of layers", "profile": "sets were not switched off layer by layer"}, (), section="where"),
    Chapter("transfer", "Transfer and fusion", "Do neurons found on one corpus act on another, and do fused sets do better?", say_transfer,
            {"transfer": "sets were not exchanged between corpora", "transfer_steer": "sets of other corpora were not amplified",
             "agreement": "scores of two corpora were not compared"},
            ("transfer", "asymmetry"), roles=(SHARED,)),
    Chapter("agnostic", "Without a label", "Does amplification help where nobody tells it the emotion?", say_agnostic,
            {"agnostic": "nothing was amplified without a label"}, (), section="steer"),
    Chapter("controls", "Controls and double dissociation", "Is it the emotion, or would any neurons do?", say_controls,
            {"controls": "no control was switched off", "dissociation": "no other column of the same clips was asked"},
            ("outcomes", "arousal", "dissociation"), roles=(MAIN, COLUMN), section="matter"),
    Chapter("side-effects", "Side effects", "What else do the neurons cost?", say_side_effects,
            {"side_effects": "no other ability was tested"}, ("side_effects",), roles=(COLUMN, SIDE_EFFECT)),
    Chapter("grounding", "Voice or words", "Do the neurons respond to the voice, or to what is said?", say_grounding,
            {"grounding": "nothing was heard in place of the voice", "selectivity": "the sets’ activity without the voice was not recorded"},
            ("grounding", "within"), roles=(GROUNDING,)),
)  # fmt: skip
"""In the order of the page; the last chapter, what was run, has no such form."""


PART_FIGURES: Mapping[str, Callable[[Whole], Any | None]] = {
    "selectors": draw_selectors_of_parts, "deactivation": draw_deactivation_of_parts, "steering": draw_steering_of_parts, "dose": draw_dose_of_parts, "efficiency": draw_efficiency_of_parts,
    "layers": draw_layers_of_parts, "ranges": draw_ranges_of_parts, "profile": draw_profile_of_parts, "agnostic": draw_agnostic_of_parts, "controls": draw_controls_of_parts,
}  # fmt: skip
"""Name to figure."""


PROBE_FIGURES: Mapping[str, Callable[[Whole], Any | None]] = {
    "transfer": draw_transfer, "transfer_steer": draw_transfer_steer, "agreement": draw_agreement, "dissociation": draw_dissociation,
    "side_effects": draw_side_effects, "grounding": draw_grounding, "selectivity": draw_selectivity,
}  # fmt: skip
"""Name to figure."""


TABLES: Mapping[str, tuple[Callable[[Whole], pl.DataFrame | None], str]] = {
    "corpora": (tabulate_corpora, "The untouched model and the headline’s neurons on each corpus, beyond matched neurons; 95 % intervals over speakers. "
                "Blind part: answers that move alike on clips of all emotions give as much of the excess gap."),
    "selectors": (tabulate_selectors_of_parts, "Paired differences of the gap between selectors, on the same clips. Below zero: the first is more specific."),
    "trend": (tabulate_trend_of_parts, "Does pull on the emotion’s own clips rise with alpha, up to alpha 1? Page’s test, speakers as blocks."),
    "efficiency": (tabulate_efficiency_of_parts, "Sets from fewer clips per emotion: overlap with the full set (Jaccard), and the effects that they reach."),
    "transfer": (tabulate_transfer, "Neurons found on one corpus, acting on another, about the emotions that all share (points). “Kept”: in % of the corpus’s own "
                 "excess gap, where that is clear of zero."),
    "asymmetry": (tabulate_asymmetry, "The two directions of every pair of corpora (points). The difference is between two groups of speakers, so its interval is wide."),
    "dissociation": (tabulate_dissociation, "Each question under its own neurons and under the other question’s: change of UAR in points."),
    "side_effects": (tabulate_side_effects, "Other abilities with nothing changed, under the headline’s neurons and under matched ones, and their difference (points). WER is the word error rate: a rise is harm."),
    "grounding": (tabulate_grounding, "The same question on the voice, on the transcript in its place, and on noise of equal length and loudness (points)."),
}  # fmt: skip
"""Name to how it is filled, and its caption."""


FACTOR_TABLES: Mapping[str, tuple[Callable[[Whole], pl.DataFrame | None], str]] = {
    "outcomes": (tabulate_outcomes_of_parts, "Neurons found on wrong answers, beyond matched neurons: gap where switched off, pull gap where amplified (points)."),
    "arousal": (tabulate_arousal_of_parts, "Effects on other emotions, by whether their arousal is that of the neurons’ emotion (points)."),
    "within": (tabulate_within_of_parts, "Gaps among clips that share a word, a statement or another label: means over its values (points)."),
    "published": (tabulate_published_of_parts, "Published figures on the same model and corpus beside ours: to look at, not to test against. Clips, wording and software differ."),
}  # fmt: skip
"""Name to how it is filled, and its caption."""


FIGURES: Mapping[str, Callable[[Whole], Any | None]] = {**PART_FIGURES, **PROBE_FIGURES}
"""Name to figure."""


NARROW = 620
"""Pictures up to this width in pixels are shrunk to a phone's page; wider ones are scrolled, so that they stay legible."""


def build_whole_report(folder: str | Path, tables: WholeTables) -> Path:
    """Write ``report.html``, ``figures/`` (SVG, PDF) and ``tables/*.tex`` of a whole study, without a model.

    What the study, or a part of it, lacks is named in the report.

    Args:
        folder: the run folder of the whole; its parts have written their tables.
        tables: what ``write_whole_tables`` returned.

    Returns:
        the path of the page.

    Raises:
        FileNotFoundError: the folder has no ``manifest.json``.
    """
    whole = read_whole(folder, {name: getattr(tables, name) for name in STUDY_TABLES}, tables.notes)
    claims = claims_of_whole(folder, tables.transfer)
    _write_claims(RunFolder(folder), claims)
    place = whole.folder / "figures"
    place.mkdir(exist_ok=True)
    figures = {name: _figure(whole, name, place) for name in FIGURES}
    shown = _tables(whole)
    path = whole.folder / "report.html"
    with replacing(path) as partial:
        partial.write_text(render_study(whole, claims, figures, shown), encoding="utf-8")
    return path


def render_study(
    whole: Whole,
    claims: pl.DataFrame,
    figures: Mapping[str, Mapping[str, str] | None],
    tables: Mapping[str, Mapping[str, str]],
) -> str:
    """The page's HTML.

    Args:
        whole: what the report shows.
        claims: each claim of the paper on each corpus.
        figures: name to ``title``, ``how``, ``size``, ``light`` and ``dark``; ``None`` where there is none.
        tables: name to ``caption`` and ``html``, of those that have rows.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("emoscope.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    corpora = [part.name for part in whole.mains]
    pilot = pilot_of_parts(whole)
    return environment.get_template("whole.html").render(
        name=whole.name, subject=subject_of_parts(whole), standing=standing_of_parts(whole), pilot=pilot,
        corpora=corpora, claims=[] if pilot is not None else grid(claims, corpora), notes=whole.notes,
        chapters=[
            {
                "id": one.id, "title": one.title, "question": one.question, "says": () if whole.pilot else one.says(whole), "tables": one.tables,
                "figures": [(name, figures[name], why) for name, why in one.figures.items()], "links": _links(whole, one),
            }
            for one in CHAPTERS
        ],
        anchors={one.title: one.id for one in CHAPTERS}, tables=tables, environment=environment_of_parts(whole),
        study=_study(whole), limits=limits_of_parts(whole), glossary=GLOSSARY,
        version=whole.manifest.get("emoscope", ""),
    )  # fmt: skip


def _links(whole: Whole, chapter: Chapter) -> list[tuple[str, str]]:
    end = f"#{chapter.section}" if chapter.section else ""
    parts = [part for role in chapter.roles for part in whole.having(role) if part.link]
    return [(part.name, part.link + (end if part.role == "main" else "")) for part in parts]


def _figure(whole: Whole, name: str, folder: Path) -> dict[str, str] | None:
    for kind in ("svg", "pdf"):
        (folder / f"{name}.{kind}").unlink(missing_ok=True)
    with debug_mode(False):  # the specifications are checked by the tests, not again in every report
        chart = FIGURES[name](whole)
    if chart is None:
        return None
    drawn = pictures(chart, name, folder)
    width = re.search(r'<svg[^>]* width="([\d.]+)"', drawn["light"])
    size = "narrow" if width and float(width[1]) <= NARROW else "wide"
    return {**drawn, "size": size}


def _tables(whole: Whole) -> dict[str, dict[str, str]]:
    """Fill every table, write it as LaTeX and return it as HTML."""
    shown = {}
    folder = whole.folder / "tables"
    folder.mkdir(exist_ok=True)
    filled = {name: (fill(whole), caption) for name, (fill, caption) in (*TABLES.items(), *FACTOR_TABLES.items())}
    filled["parts"] = parts(whole), "Every part of the study: an ordinary run in a folder of its own."
    filled["proofs"] = (
        proofs_of_parts(whole),
        "What was checked when the model was loaded. “Not run” is not “passed”.",
    )
    for name, (frame, caption) in filled.items():
        path = folder / f"{name}.tex"
        if frame is None:
            path.unlink(missing_ok=True)
            continue
        with replacing(path) as partial:
            partial.write_text(to_latex(frame, name, caption), encoding="utf-8")
        if name not in STUDY_TABLES:  # the others are written with their numbers
            with replacing(folder / f"{name}.csv") as partial:
                frame.write_csv(partial)
        shown[name] = {"caption": caption, "html": to_html(frame, name)}
    return shown


def _write_claims(run: RunFolder, claims: pl.DataFrame) -> None:
    run.write_table("tables/claims", claims)
    with replacing(run / "tables/claims.csv") as partial:
        claims.write_csv(partial)
    text = as_text(claims)
    if text is not None:
        with replacing(run / "tables/claims.tex") as partial:
            partial.write_text(
                to_latex(text, "claims", "The claims of Zhao, Schuller and Sisman (2026) on each corpus."),
                encoding="utf-8",
            )


def _study(whole: Whole) -> str:
    path = whole.folder / "study.toml"
    return path.read_text(encoding="utf-8") if path.is_file() else ""
