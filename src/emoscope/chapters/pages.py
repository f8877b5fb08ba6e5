"""The report of a run: one HTML file that holds everything it shows and loads nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from altair.utils.schemapi import debug_mode

from emoscope.chapters.agnostic import draw_agnostic, tabulate_agnostic
from emoscope.chapters.answers import (
    draw_confusion,
    draw_recall,
    draw_reliance,
    forms_note,
    reliance_note,
    tabulate_baseline,
    tabulate_generated,
)
from emoscope.chapters.arousal import arousal_note, tabulate_arousal
from emoscope.chapters.budgets import draw_budgets, tabulate_budgets
from emoscope.chapters.claims import tabulate_claims
from emoscope.chapters.deactivation import (
    CELLS,
    draw_deactivation,
    draw_evidence,
    draw_gaps,
    tabulate_effects_deactivate,
    tabulate_tests,
    tabulate_verdicts,
)
from emoscope.chapters.efficiency import draw_efficiency, tabulate_efficiency
from emoscope.chapters.flows import draw_flows
from emoscope.chapters.layer_effects import draw_positions, draw_profile, draw_ranges
from emoscope.chapters.layers import draw_layers, draw_layers_by_emotion
from emoscope.chapters.letters import draw_factors, letters_note, tabulate_letters
from emoscope.chapters.outcomes import CAPTION, SETS_CAPTION, percept, tabulate_outcome_sets, tabulate_outcomes
from emoscope.chapters.published import tabulate_published
from emoscope.chapters.results import Tables, open_content, write_tables
from emoscope.chapters.selectors import draw_selectors, tabulate_differences, tabulate_selectors
from emoscope.chapters.sets import (
    SHOWN_TOKENS,
    draw_stability,
    tabulate_matching,
    tabulate_neurons,
    tabulate_sets,
    tabulate_words,
)
from emoscope.chapters.steering import draw_dose, draw_steering, tabulate_effects_steer, tabulate_trend
from emoscope.chapters.within import tabulate_within, within_note
from emoscope.chapters.wordings import tabulate_wordings
from emoscope.report import methods, sentences
from emoscope.report.caveats import limits, matching, rank, standing
from emoscope.report.glossary import GLOSSARY
from emoscope.report.markup import pictures, to_html, to_latex
from emoscope.report.provenance import counts, environment, identifiable, null, proofs, study, study_name, subject, told
from emoscope.report.theme import title
from emoscope.report.views import Content
from emoscope.runs.folder import replacing

NOT_OFF, NOT_AMPLIFIED, NO_SETS = "no set was switched off", "no set was amplified", "no neuron sets are stored"


MISSING = {
    "recall": "baseline answers", "confusion": "baseline answers", "deactivation": NOT_OFF, "flows": NOT_OFF,
    "evidence": "the options’ probabilities under sets that were switched off", "gaps": NOT_OFF,
    "reliance": "no MLP layer was switched off", "steering": NOT_AMPLIFIED, "dose": NOT_AMPLIFIED,
    "agnostic": "nothing was amplified without a label", "budgets": "the headline’s selector was switched off at one budget alone",
    "factors": "nothing was switched off or amplified next to matched neurons", "efficiency": "neurons were not found from fewer clips",
    "selectors": "fewer than two selectors were switched off", "stability": "no sets of two or more folds to compare",
    "positions": "neurons were not switched off by position", "ranges": "sets were not restricted to ranges of layers", "profile": "neurons were not switched off layer by layer",
    "layers": NO_SETS, "layers_by_emotion": NO_SETS, "main": NOT_OFF,
}  # fmt: skip
"""Why a run lacks a figure."""


CLAIMS = ("claims", "verdicts", "tests")
"""Tables that a pilot, which supports no claim, does not show."""


def main_figure(folder_or_content: str | Path | Content) -> Any | None:
    """The headline's matrix of changes under deactivation, next to that of its matched controls.

    Args:
        folder_or_content: a run folder, or its content.

    Returns:
        an Altair chart; ``None`` where the run has no deactivation of the headline's sets.
    """
    content = folder_or_content if isinstance(folder_or_content, Content) else open_content(folder_or_content)
    chart = draw_deactivation(content, ("target", "matched"))
    return chart and chart.properties(title=title("Switching off an emotion's neurons, next to matched neurons", CELLS))


FIGURES: Mapping[str, Callable[..., Any]] = {
    "recall": draw_recall, "confusion": draw_confusion, "deactivation": draw_deactivation, "flows": draw_flows, "evidence": draw_evidence, "gaps": draw_gaps, "budgets": draw_budgets,
    "reliance": draw_reliance, "steering": draw_steering, "dose": draw_dose, "agnostic": draw_agnostic, "selectors": draw_selectors, "stability": draw_stability, "efficiency": draw_efficiency, "factors": draw_factors,
    "positions": draw_positions, "ranges": draw_ranges, "profile": draw_profile, "layers": draw_layers, "layers_by_emotion": draw_layers_by_emotion, "main": main_figure,
}  # fmt: skip
"""Name to figure, in the order of the page."""


SWEEP_TABLES: Mapping[str, tuple[Callable[[Content], pl.DataFrame | None], str]] = {
    "budgets": (tabulate_budgets, "Switching off as many neurons of the headline’s selector as each budget gives, in points, with 95 % intervals over speakers. "
                "*: the headline’s budget, fixed beforehand; the others are exploration."),
    "efficiency": (tabulate_efficiency, "Neurons found from fewer clips, mean over draws. Shared: Jaccard index, in brackets the least and the most alike draw, "
                   "fold and emotion; gaps in points with 95 % intervals over speakers."),
}  # fmt: skip
"""Name to the function that fills a table, and its caption."""


FACTOR_TABLES: Mapping[str, tuple[Callable[[Content], pl.DataFrame | None], str]] = {
    "letters": (tabulate_letters, "By the letter behind which the right option stands, with 95 % intervals over speakers. Answered so: the share of all clips "
                "that the untouched model answers with the letter. Effects in points; excess: beyond matched neurons; apart: from the mean of "
                "the other letters. Exploration: not corrected for their number."),
    "within": (tabulate_within, "Gaps over the clips of one value of a label column at a time, then averaged over its values, in points with 95 % intervals "
               "over speakers. A gap within what is said alike does not come from what is said."),
    "arousal": (tabulate_arousal, "Effects on other emotions than the neurons’ own, by whether their arousal is the same, means over pairs of emotions in points "
                "with 95 % intervals over speakers. Neurons that hold arousal act more on emotions of the same arousal."),
}  # fmt: skip
"""Name to the function that fills a table, and its caption."""


def notes(content: Content) -> dict[str, str | None]:
    """One sentence by rule on each of letters, what is said, arousal and how answers were written; ``None`` without.

    A pilot supports no claim, so it has the last alone.
    """
    if content.pilot is not None:
        return {"letters": None, "within": None, "arousal": None, "forms": forms_note(content)}
    return {
        "letters": letters_note(content), "within": within_note(content), "arousal": arousal_note(content),
        "forms": forms_note(content),
    }  # fmt: skip


TABLES: Mapping[str, tuple[Callable[[Content], pl.DataFrame | None], str]] = {
    "claims": (tabulate_claims, "Decided by rule on the tables of this run, at the headline; points are beyond matched neurons, with 95 % intervals over "
               "speakers. “Supported by the published measure”: that measure also counts moves of the answers that know nothing of the clip (the blind part). “Not supported” includes what stays open: it is no proof of the opposite."),
    "published": (tabulate_published, "Published figures of this model on this corpus, to look at: clips, wording and software are others."),
    "baseline": (tabulate_baseline, "The untouched model, with 95 % intervals over speakers. Changed answers: share of items answered "
                 "otherwise than at baseline; in the row “null” nothing but the batches differs. Of written answers: the share that names the option in words, "
                 "refuses, or cannot be read; UAR counts the last two as not correct."),
    "wordings": (tabulate_wordings, "Each wording of the question alone, with 95 % intervals over speakers. The sets were found on all wordings "
                 "together; effects in points, beyond matched neurons."),
    "generated": (tabulate_generated, "Likeliest letters and written answers of the same items, for every condition that was also written out."),
    "verdicts": (tabulate_verdicts, "Verdicts by rule, for selected minus matched neurons, means over emotions with 95 % intervals over speakers. "
                 "Evidence or leaning counts as changed where its interval keeps clear of zero, however small the change; as unchanged where the interval holds zero and lies within ±2 AUC points or ±0.1 nat. "
                 "*: the headline, fixed beforehand; the others are exploration."),
    "tests": (tabulate_tests, "The tests that were declared before the evaluation, with 95 % intervals over speakers and p values corrected "
              "for their number (Holm). Blind part: answers that move alike on clips of all emotions give as much of the excess gap; the excess pull gap has none."),
    "effects_deactivate": (tabulate_effects_deactivate, "Effects of switching off, in points of accuracy (UAR: change of the unweighted average "
                           "recall), with 95 % intervals over speakers. Blind part: answers that move alike on clips of all emotions give as much."),
    "effects_steer": (tabulate_effects_steer, "Effects of amplification at the headline’s alpha, in points of the share of clips answered with the "
                      "amplified emotion (UAR: change of the unweighted average recall), with 95 % intervals over speakers."),
    "outcomes": (tabulate_outcomes, CAPTION),
    "outcome_sets": (tabulate_outcome_sets, SETS_CAPTION),
    "trend": (tabulate_trend, "Whether more amplification does more, where 0 < alpha ≤ 1: Page’s trend test over the strengths, speakers as blocks, "
              "one-sided, and the slope of the line through them with its 95 % interval over speakers. Exploration: not corrected for their number."),
    "agnostic": (tabulate_agnostic, "Amplification that needs no label, in points of UAR and of the share of clips that turned wrong or right (means over "
                 "emotions), with 95 % intervals over speakers. Told: each clip’s own emotion amplified."),
    "selectors": (tabulate_selectors, "Every selector at the headline’s budget and alpha, with 95 % intervals over speakers. Gap, evidence and "
                  "leaning: switched off; pull: amplified."),
    "differences": (tabulate_differences, "Differences between selectors on the same clips, with 95 % intervals over speakers."),
    "sets": (tabulate_sets, "Sizes in neurons per emotion, over all folds. Negative mean: neurons whose mean activation for their "
             "emotion is below zero, which amplification pushes away from it. Behind one letter: the largest share of the clips found on "
             "that show the right option behind the same letter."),
    "matching": (tabulate_matching, "How far matched controls are from the selected neurons: absolute standardised mean differences, over "
                 "folds, draws and emotions. Above 0.25 a control is not well matched."),
    "words": (tabulate_words, "Tokens among the five that each of an emotion’s neurons raises or lowers most, with the number of neurons that do."),
    "neurons": (tabulate_neurons, "Single neurons and the tokens that each raises and lowers most. First those chosen in most folds, "
                "and among them those nearest to the output."),
    **SWEEP_TABLES, **FACTOR_TABLES,
}  # fmt: skip
"""Name to the function that fills a table, and its caption."""


def build_report(
    folder: str | Path, tables_of_run: Tables | None = None, step: Callable[[], None] | None = None
) -> Path:
    """Write ``report.html``, ``figures/*.svg`` and ``.pdf`` and ``tables/*.tex`` of a run folder, without a model.

    Whatever the folder lacks is named in the report.

    Args:
        folder: the run folder.
        tables_of_run: what ``write_tables`` returned, if the tables were just written.
        step: called after each figure, whether the run has it or not: ``len(FIGURES)`` times.

    Returns:
        the path of the page.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    content = open_content(folder, tables_of_run or write_tables(folder))
    figures = content.run.folder / "figures"
    figures.mkdir(exist_ok=True)
    shown: dict[str, dict[str, str]] = {}
    for name, draw in FIGURES.items():
        for end in ("svg", "pdf"):
            (figures / f"{name}.{end}").unlink(missing_ok=True)
        shown[name] = _figure(content, name, draw, figures)
        if step:
            step()
    path = content.run.folder / "report.html"
    with replacing(path) as partial:
        partial.write_text(render(content, shown, _tables(content)), encoding="utf-8")
    return path


def render(
    content: Content, figures: Mapping[str, Mapping[str, str]], tables: Mapping[str, Mapping[str, str] | None]
) -> str:
    """The page's HTML.

    Args:
        content: what the report shows.
        figures: name to ``title``, ``how``, ``light`` and ``dark`` (SVG), or ``missing`` (why there is none).
        tables: name to ``caption`` and ``html``, or ``None`` where the run has nothing to fill it with.
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("emoscope.report", "."), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    records = {
        name: None if frame is None else {"html": to_html(frame, name)}
        for name, frame in (
            ("counts", counts(content)), ("proofs", proofs(content)),
            ("environment", environment(content)),
        )
    }  # fmt: skip
    return templates.get_template("template.html").render(
        name=study_name(content), subject=subject(content), standing=standing(content),
        pilot=content.pilot, headline=sentences.headline(content), missing=_missing(content),
        figures=figures, tables={**tables, **records},
        matching={kind: matching(content, kind) for kind in ("deactivate", "steer")},
        rank={kind: rank(content, kind) for kind in ("deactivate", "steer")}, null=null(content), notes=notes(content),
        percept=percept(content),
        no_interval=_no_interval(content), reliance=reliance_note(content), identifiable=identifiable(content),
        tokens=SHOWN_TOKENS, methods=methods.paragraph(content), bibtex=methods.bibtex(content),
        told=told(content), study=study(content), limits=limits(content), glossary=GLOSSARY,
        version=content.run.manifest.get("emoscope", ""),
    )  # fmt: skip


def _tables(content: Content) -> dict[str, dict[str, str] | None]:
    """Fill every table, write it as LaTeX beside the CSV, and return it as HTML."""
    shown: dict[str, dict[str, str] | None] = {}
    folder = content.run.folder / "tables"
    folder.mkdir(exist_ok=True)
    for name, (fill, caption) in TABLES.items():
        frame, path = fill(content), folder / f"{name}.tex"
        if content.pilot is not None and name in CLAIMS:
            frame = None
        if frame is None:
            path.unlink(missing_ok=True)
            shown[name] = None
            continue
        with replacing(path) as partial:
            partial.write_text(to_latex(frame, name, caption), encoding="utf-8")
        shown[name] = {"caption": caption, "html": to_html(frame, name)}
    return shown


def _figure(content: Content, name: str, draw: Callable[..., Any], folder: Path) -> dict[str, str]:
    with debug_mode(False):  # the specifications are checked by the tests, not again in every report
        chart = draw(content)
    if chart is None:
        return {"missing": MISSING[name]}
    # the page shows the full set of matrices instead of the main one
    return pictures(chart, name, folder, shown=name != "main")


def _missing(content: Content) -> list[str]:
    files = [f"{name} is not in the run folder" for name in content.run.missing]
    return [*files, *content.tables.notes]


def _no_interval(content: Content) -> str | None:
    reasons = content.tables.uar.filter(content.tables.uar["condition"] == "baseline")["reason"].drop_nulls()
    return f"No intervals: {reasons[0]}." if len(reasons) else None
