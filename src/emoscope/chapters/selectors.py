"""Does it matter by which rule neurons are selected?"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import chain, combinations

import polars as pl

from emoscope.analysis.contrasts import Changes, Compared, measures, shared
from emoscope.analysis.estimate import unit
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.responses import Responses
from emoscope.report import wording
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import GAP, INTERVALS, dots, marks_of, names_of, reach, series_of, stacked
from emoscope.report.theme import Chart, title
from emoscope.report.wording import by_key, judge, made_of, name_selector, of_corpus, value
from emoscope.schemas import as_table, empty
from emoscope.wording import listed, number, p_value, spread

COMPARED = {"deactivate": ("gap", "sensitivity", "bias"), "steer": ("pull_gap", "pull_overall", "sensitivity", "bias")}
"""The measures in which selectors are compared."""


def differences(responses: Responses, compared: Sequence[Compared]) -> pl.DataFrame:
    """Paired differences between the target sets of every two selectors, on the same items and emotions.

    Returns:
        the columns of table ``differences``: the first selector's measure minus the second's, at every budget that
        both have, at the headline's scope, at all positions. The headline's selector always stands first.
    """
    headline = next((effect.family for effect in compared if effect.headline), None)
    if headline is None:
        return empty("differences")
    fixed = {"scope": headline["scope"], "control": "target", "positions": "all", "layers": "all"}
    groups: dict[tuple[object, ...], list[Compared]] = {}
    for effect in compared:
        family = effect.family
        if all(family[name] == value for name, value in fixed.items()) and family["to"] != "mean":
            groups.setdefault((family["kind"], family["alpha"], family["budget"]), []).append(effect)
    rows, changes = [], Changes(responses)
    for (kind, alpha, budget), members in groups.items():
        members.sort(key=lambda member: (member.family["selector"] != headline["selector"], member.family["selector"]))
        for first, second in combinations(members, 2):
            both = [first.conditions[0], second.conditions[0]]
            targets, used = shared(responses, both)
            if not targets or not used.any():
                continue
            own, other = (measures(changes.count(conditions, targets, used)) for conditions in both)
            about = {"kind": kind, "alpha": alpha, "budget": budget}
            about |= {"first": first.family["selector"], "second": second.family["selector"]}
            for measure in COMPARED[str(kind)]:
                row = own[measure].beyond(other[measure]).columns()
                rows.append(row | about | {"measure": measure, "unit": unit(measure)})
    leads = pl.col("first") != headline["selector"]
    order = ("kind", "alpha", "budget", "measure", leads, "first", "second")
    return as_table("differences", rows).sort(*order, nulls_last=False)


def draw_selectors(study: StudyRuns) -> Chart | None:
    """The gap of every selector's sets, and by how much the headline's differs from each, a line a corpus."""
    own: dict[str, list[Row]] = {}
    pairs: dict[str, list[Row]] = {}
    for part in study.mains:
        found = part.of_selectors("deactivate").filter(pl.col("control").is_in(["target", "matched"]), measure="gap")
        if found.filter(control="target")["selector"].n_unique() > 1:
            own[part.name] = [
                {"row": name_selector(row["selector"]), "series": series_of(row["control"])} | marks_of(row)
                for row in found.iter_rows(named=True)
            ]
            pairs[part.name] = [
                {"row": name_selector(row["second"]), "series": "difference"} | marks_of(row)
                for row in of_headline(part).filter(pl.col("estimate").is_not_null()).iter_rows(named=True)
            ]
    gaps, apart = (reach(chain(*rows.values())) for rows in (own, pairs))
    drawn: dict[str, list[Chart]] = {}
    for part in (part for part in study.mains if part.name in own):
        rows, others = own[part.name], pairs[part.name]
        order = [name for name in map(name_selector, part.selectors) if name in names_of(rows)]
        drawn[part.name] = [dots(rows, order, GAP, "selector", most=2, width=350, domain=gaps)]
        if others:
            x = f"{name_selector(part.selector)} minus this selector (points)"
            drawn[part.name].append(dots(others, order, x, "", False, most=2, width=350, domain=apart))
    return stacked(
        drawn,
        title(
            "How specific each selector's neurons are when switched off",
            f"{INTERVALS} Left: the gap, further left is more specific; circle: selected, diamond: neurons matched to "
            "the headline’s. Right: the headline’s selector minus the other one on the same clips; only where the line "
            "keeps clear of zero are the two told apart.",
        ),
    )


def of_headline(part: Part) -> pl.DataFrame:
    """Differences of the gap between the headline's selector and the others, at its budget."""
    found = part.table("differences").filter(kind="deactivate", measure="gap")
    return found.filter(
        pl.col("first").eq_missing(pl.lit(part.selector)), pl.col("budget").eq_missing(pl.lit(part.budget))
    )


SHOWN = {
    ("deactivate", "gap"): "gap (points)",
    ("deactivate", "sensitivity"): "evidence (AUC points)",
    ("deactivate", "bias"): "leaning (nat)",
    ("steer", "pull_overall"): "pull, all (points)",
    ("steer", "pull_gap"): "pull gap (points)",
}
"""What tables say of selectors: kind of intervention and measure, and its heading."""


def _cells(by: Mapping[tuple[str, ...], Row]) -> dict[str, str]:
    digits = {"bias": 2}
    return {heading: spread(by.get(key), digits.get(key[1], 1)) for key, heading in SHOWN.items()}


def tabulate_selectors(study: StudyRuns) -> pl.DataFrame | None:
    """Every selector's sets: how specific they are and how they move the answers."""
    rows = []
    for part in study.mains:
        found = pl.concat([part.of_selectors(kind) for kind in COMPARED]).filter(control="target")
        for selector in part.selectors if len(found) else ():
            by = by_key(found.filter(selector=selector), "kind", "measure")
            rows.append({"corpus": part.name, "neurons": name_selector(selector)} | _cells(by))
    return made_of(study, rows)


def tabulate_differences(study: StudyRuns) -> pl.DataFrame | None:
    """Paired differences between selectors at the headline's budget, and between the headline's and others at every one."""
    rows = []
    for part in study.mains:
        declared = pl.col("alpha").eq_missing(pl.lit(part.alpha)), pl.col("budget").eq_missing(pl.lit(part.budget))
        found = part.table("differences").filter(
            (pl.col("kind") == "deactivate") | declared[0],
            (pl.col("first").eq_missing(pl.lit(part.selector))) | declared[1],
        )
        for (budget, *pair), group in found.group_by("budget", "first", "second", maintain_order=True):
            by = by_key(group, "kind", "measure")
            first, second = map(name_selector, pair)
            row = {"corpus": part.name, "difference between": f"{first} minus {second}"}
            row |= {"budget (%)": number(100 * (budget or 0), 2)} | _cells(by)
            rows.append(row | {"p, gap": p_value(value(by.get(("deactivate", "gap")), "p"))})
    return made_of(study, rows)


def say_selectors(study: StudyRuns) -> list[str]:
    """From which other selectors the headline's can be told apart."""
    words = {
        wording.CLEAR_LOW: "more specific than {}",
        wording.CLEAR_HIGH: "less specific than {}",
        wording.OPEN: "not told apart from {}",
        wording.UNTESTED: "not compared with {}",
    }
    sentences = []
    for part in study.mains:
        groups: dict[str, list[str]] = {}
        for row in of_headline(part).iter_rows(named=True):
            groups.setdefault(judge(row, part)[0], []).append(name_selector(row["second"]))
        texts = [text.format(listed(groups[name])) for name, text in words.items() if name in groups]
        if texts:
            sentences.append(of_corpus(study, part, f"{name_selector(part.selector)}’s neurons are {listed(texts)}."))
    return sentences


QUESTIONS = (
    Question(
        "which",
        10,
        (
            Figure("selectors", draw_selectors, "fewer than two selectors were switched off", pages="both"),
            Table(
                "selectors",
                tabulate_selectors,
                "Every selector at the headline’s budget and alpha, with 95 % intervals over speakers. Gap, "
                "evidence and leaning: switched off; pull: amplified.",
                pages="both",
            ),
            Table(
                "differences",
                tabulate_differences,
                "Differences between selectors on the same clips, with 95 % intervals over speakers. Gap below zero: "
                "the first is more specific.",
                pages="both",
            ),
        ),
        says=say_selectors,
        says_on="both",
        tables={"differences": lambda part: differences(part.responses, part.compared)},
    ),
)
