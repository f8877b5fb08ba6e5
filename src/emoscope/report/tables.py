"""The tables of a report: what was answered, what the sets do, and what the tests say, as text in columns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import polars as pl

from emoscope.analysis.blind import Blind, blind_part, count_options
from emoscope.report import factors, outcome_tables, set_tables, sweep_tables
from emoscope.report.content import CONTROLS, Content, bracket, name_selector, number
from emoscope.report.effect_charts import INJECTED
from emoscope.vocabulary import acting

MEASURES = {
    "deactivate": {"self": "own emotion", "cross": "other emotions", "gap": "gap", "excess_gap": "excess gap", "uar_change": "UAR"},
    "steer": {
        "pull": "pull, own emotion", "pull_cross": "pull, other emotions", "pull_overall": "pull, all",
        "pull_gap": "pull gap", "excess_pull_gap": "excess pull gap", "uar_change": "UAR",
    },
}  # fmt: skip
"""The columns of the tables of effects, with their headings."""

BLIND = "blind part of the excess gap"
"""The heading of what, of the excess gap, knows nothing of the clip."""

DONE = {"zero": "switched off", "mean": "set to their mean"}
KINDS = {"deactivate": "switching off", "steer": "amplifying"}


def wordings(content: Content) -> pl.DataFrame | None:
    """The untouched model and the headline's effects on each wording of the question, and how far these lie apart."""
    found = content.tables.wordings
    if found.is_empty():
        return None
    headings = {"excess_gap": "switched off: excess gap", "excess_pull_gap": "amplified: excess pull gap"}
    shown = [name for name in headings if found[name].null_count() < len(found)]
    rows = [
        {"wording": row["wording"], "items": str(row["n"]), "letter mass": number(row["letter_mass"], 2)}
        | {"UAR (%)": f"{number(row['uar'])} {bracket(row['uar_low'], row['uar_high'])}".strip()}
        | {headings[name]: _spread(row, name) for name in shown}
        for row in found.iter_rows(named=True)
    ]
    there = {name: found[name].drop_nulls().to_list() for name in ("uar", *shown)}
    apart = {name: number(max(values) - min(values)) for name, values in there.items()}
    rows.append(
        {"wording": "largest minus smallest", "items": "", "letter mass": "", "UAR (%)": apart["uar"]}
        | {headings[name]: apart[name] for name in shown}
    )
    return pl.DataFrame(rows)


def effects_deactivate(content: Content) -> pl.DataFrame | None:
    """The headline selector and its controls, set to zero and to their mean."""
    return _effects(content, "deactivate")


def effects_steer(content: Content) -> pl.DataFrame | None:
    """The headline selector and its controls, amplified by the headline's alpha."""
    return _effects(content, "steer")


def verdicts(content: Content) -> pl.DataFrame | None:
    """What the rule says about every intervention on the headline's sets that has matched controls."""
    found = content.own(content.sized(content.tables.verdicts)).filter(
        (pl.col("control") == "target") & (pl.col("layers") == "all")
    )
    rows = [
        {
            "what was done": _done(row) + (" *" if row["headline"] else ""),
            "evidence (AUC points)": _spread(row, "excess_sensitivity"), "leaning (nat)": _spread(row, "excess_bias", 2),
            "verdict": row["verdict"] or "no verdict", "why": row["reason"] or "",
        }
        for row in found.sort("kind", "to", "alpha", descending=[False, True, False]).iter_rows(named=True)
    ]  # fmt: skip
    return _without_empty(rows, "why")


def tests(content: Content) -> pl.DataFrame | None:
    """The tests that the study declared beforehand, corrected for their number."""
    names, blind = {"excess_gap": "excess gap", "excess_pull_gap": "excess pull gap"}, content.blind()
    rows = [
        {
            "claim tested": f"{KINDS.get(row['kind'], row['kind'])}: {names.get(row['measure'], row['measure'])}",
            "corpus": row["corpus"] or "", "estimate (points)": _spread(row, "estimate"),
            BLIND: _blind(blind, row["measure"]), "df": number(row["df"]),
            "p": p_value(row["p"]), "p, Holm": p_value(row["p_holm"]), "why": row["reason"] or "",
        }
        for row in content.tables.tests.iter_rows(named=True)
    ]  # fmt: skip
    return _without_empty(rows, "why")


def claims(content: Content) -> pl.DataFrame | None:
    """Each claim of the paper, with the verdict of a rule and the number that it rests on."""
    found = content.tables.claims
    if found.is_empty():
        return None
    return found.select("claim", "verdict", pl.col("number").alias("what it rests on"), pl.col("why"))


def published(content: Content) -> pl.DataFrame | None:
    """What was published on this model and this corpus, beside what this run found."""
    found = content.tables.published
    return None if found.is_empty() else found.select("who", "measure", "published", "ours", "note")


def agnostic(content: Content) -> pl.DataFrame | None:
    """Steering without a label: what it changes, and how that differs from matched neurons and from knowing the label."""
    found = content.own(content.sized(content.tables.agnostic)).filter(pl.col("control") == "target")
    by = {(row["way"], row["against"], row["measure"]): row for row in found.iter_rows(named=True)}
    columns = [
        ("UAR (points)", "baseline", "uar_change", 1), ("log p, right answer (nat)", "baseline", "true_logp", 2),
        ("turned wrong (points)", "baseline", "lost", 1), ("turned right (points)", "baseline", "gained", 1),
        ("UAR beyond matched", "matched", "uar_change", 1), ("UAR beyond told", "targeted", "uar_change", 1),
    ]  # fmt: skip
    rows = []
    for way, name in INJECTED.items():
        if (way, "baseline", "uar_change") in by:
            row = {"what was amplified": name + (", hollow" if by[way, "baseline", "uar_change"]["hollow"] else "")}
            for heading, against, measure, digits in columns:
                one = by.get((way, against, measure))
                row[heading] = "–" if one is None else _spread(one, "estimate", digits)
            rows.append(row)
    return _without_dashes(rows)


def trend(content: Content) -> pl.DataFrame | None:
    """Whether effects rise with alpha, next to matched neurons."""
    names = {"pull": "pull, own emotion", "pull_gap": "pull gap"}
    rows = []
    for row in (
        content.own(content.sized(content.tables.trend))
        .filter(pl.col("layers") == "all")
        .sort("control", descending=True)
        .iter_rows(named=True)
    ):
        name, beyond = row["measure"].removeprefix("excess_"), row["measure"].startswith("excess_")
        who = "selected minus matched" if beyond else CONTROLS[row["control"]]
        rows.append({
            "does it rise?": names[name], "neurons": who + (", hollow" if row["hollow"] else ""),
            "alpha": row["alphas"], "points per unit of alpha": _slope(row),
            "Page’s L": number(row["page_l"], 1), "speakers": str(row["blocks"]), "p": p_value(row["p"]), "why": row["reason"] or "",
        })  # fmt: skip
    return _without_empty(rows, "why")


def _slope(row: Mapping[str, Any]) -> str:
    return f"{number(row['slope'], sign=True)} {bracket(row['low'], row['high'])}".strip()


def selectors(content: Content) -> pl.DataFrame | None:
    """Every selector's sets: how specific they are and how they move the answers."""
    measures = [
        ("deactivate", "gap", "gap (points)", 1), ("deactivate", "sensitivity", "evidence (AUC points)", 1),
        ("deactivate", "bias", "leaning (nat)", 2), ("steer", "pull_overall", "pull, all (points)", 1),
        ("steer", "pull_gap", "pull gap (points)", 1),
    ]  # fmt: skip
    rows = []
    for selector in content.selectors:
        row = {"neurons": name_selector(selector)}
        for kind, measure, heading, digits in measures:
            found = content.of_selectors(content.tables.effects, kind).filter(
                (pl.col("measure") == measure) & (pl.col("control") == "target") & (pl.col("selector") == selector)
            )
            row[heading] = _spread(found.row(0, named=True), "estimate", digits) if len(found) else "–"
        rows.append(row)
    return _without_dashes(rows)


def differences(content: Content) -> pl.DataFrame | None:
    """Paired differences between selectors, on the same clips."""
    names = {
        ("deactivate", "gap"): "gap (points)", ("deactivate", "sensitivity"): "evidence (AUC points)",
        ("deactivate", "bias"): "leaning (nat)", ("steer", "pull_overall"): "pull, all (points)",
        ("steer", "pull_gap"): "pull gap (points)",
    }  # fmt: skip
    found = content.tables.differences.filter(pl.col("budget").eq_missing(pl.lit(content.budget)))
    pairs = list(dict.fromkeys(found.select("first", "second").iter_rows()))
    rows = []
    for first, second in pairs:
        row = {"difference between": f"{name_selector(first)} minus {name_selector(second)}"}
        for (kind, measure), heading in names.items():
            one = found.filter(
                (pl.col("first") == first) & (pl.col("second") == second) & (pl.col("kind") == kind) & (pl.col("measure") == measure)
                & ((pl.col("kind") == "deactivate") | pl.col("alpha").eq_missing(pl.lit(content.alpha)))
            )  # fmt: skip
            digits = 2 if measure == "bias" else 1
            row[heading] = _spread(one.row(0, named=True), "estimate", digits) if len(one) else "–"
        rows.append(row)
    return _without_dashes(rows)


def baseline(content: Content) -> pl.DataFrame | None:
    """UAR, accuracy, letter mass and agreement of the untouched model and of the numerical null."""
    return _answers(content.tables.uar.filter(pl.col("condition").is_in(["baseline", "null"])))


def generated(content: Content) -> pl.DataFrame | None:
    """The same for the other conditions whose answers were also written out."""
    written = content.tables.uar.filter((pl.col("scoring") == "generation") & (pl.col("condition") != "baseline"))
    found = content.tables.uar.filter(pl.col("condition").is_in(written["condition"].to_list()))
    return _answers(found.filter(pl.col("condition") != "null"))


TABLES: Mapping[str, tuple[Callable[[Content], pl.DataFrame | None], str]] = {
    "claims": (claims, "Decided by rule on the tables of this run, at the headline; points are beyond matched neurons, with 95 % intervals over "
               "speakers. “Supported by the published measure”: that measure also counts moves of the answers that know nothing of the clip (the blind part). “Not supported” includes what stays open: it is no proof of the opposite."),
    "published": (published, "Published figures of this model on this corpus, to look at: clips, wording and software are others."),
    "baseline": (baseline, "The untouched model, with 95 % intervals over speakers. Changed answers: share of items answered "
                 "otherwise than at baseline; in the row “null” nothing but the batches differs. Of written answers: the share that names the option in words, "
                 "refuses, or cannot be read; UAR counts the last two as not correct."),
    "wordings": (wordings, "Each wording of the question alone, with 95 % intervals over speakers. The sets were found on all wordings "
                 "together; effects in points, beyond matched neurons."),
    "generated": (generated, "Likeliest letters and written answers of the same items, for every condition that was also written out."),
    "verdicts": (verdicts, "Verdicts by rule, for selected minus matched neurons, means over emotions with 95 % intervals over speakers. "
                 "Evidence or leaning counts as changed where its interval keeps clear of zero, however small the change; as unchanged where the interval holds zero and lies within ±2 AUC points or ±0.1 nat. "
                 "*: the headline, fixed beforehand; the others are exploration."),
    "tests": (tests, "The tests that were declared before the evaluation, with 95 % intervals over speakers and p values corrected "
              "for their number (Holm). Blind part: answers that move alike on clips of all emotions give as much of the excess gap; the excess pull gap has none."),
    "effects_deactivate": (effects_deactivate, "Effects of switching off, in points of accuracy (UAR: change of the unweighted average "
                           "recall), with 95 % intervals over speakers. Blind part: answers that move alike on clips of all emotions give as much."),
    "effects_steer": (effects_steer, "Effects of amplification at the headline’s alpha, in points of the share of clips answered with the "
                      "amplified emotion (UAR: change of the unweighted average recall), with 95 % intervals over speakers."),
    "outcomes": (outcome_tables.outcomes, outcome_tables.CAPTION),
    "outcome_sets": (outcome_tables.outcome_sets, outcome_tables.SETS_CAPTION),
    "trend": (trend, "Whether more amplification does more, where 0 < alpha ≤ 1: Page’s trend test over the strengths, speakers as blocks, "
              "one-sided, and the slope of the line through them with its 95 % interval over speakers. Exploration: not corrected for their number."),
    "agnostic": (agnostic, "Amplification that needs no label, in points of UAR and of the share of clips that turned wrong or right (means over "
                 "emotions), with 95 % intervals over speakers. Told: each clip’s own emotion amplified."),
    "selectors": (selectors, "Every selector at the headline’s budget and alpha, with 95 % intervals over speakers. Gap, evidence and "
                  "leaning: switched off; pull: amplified."),
    "differences": (differences, "Differences between selectors on the same clips, with 95 % intervals over speakers."),
    "sets": (set_tables.sets, "Sizes in neurons per emotion, over all folds. Negative mean: neurons whose mean activation for their "
             "emotion is below zero, which amplification pushes away from it. Behind one letter: the largest share of the clips found on "
             "that show the right option behind the same letter."),
    "matching": (set_tables.matching, "How far matched controls are from the selected neurons: absolute standardised mean differences, over "
                 "folds, draws and emotions. Above 0.25 a control is not well matched."),
    "words": (set_tables.words, "Tokens among the five that each of an emotion’s neurons raises or lowers most, with the number of neurons that do."),
    "neurons": (set_tables.neurons, "Single neurons and the tokens that each raises and lowers most. First those chosen in most folds, "
                "and among them those nearest to the output."),
    **sweep_tables.TABLES, **factors.TABLES,
}  # fmt: skip
"""Name to the function that fills a table, and its caption."""


def facts(pairs: Sequence[tuple[str, Any]]) -> pl.DataFrame | None:
    """A table of names and values."""
    rows = [{"what": what, "value": str(value)} for what, value in pairs if value not in (None, "", [])]
    return pl.DataFrame(rows) if rows else None


def p_value(p: float | None) -> str:
    """A p value for people.

    Example:
        >>> p_value(0.0312), p_value(0.00002), p_value(None)
        ('0.031', '< 0.001', '–')
    """
    return "–" if p is None else "< 0.001" if p < 0.001 else number(p, 3)


def _effects(content: Content, kind: str) -> pl.DataFrame | None:
    rows = []
    for to in ("zero", "mean") if kind == "deactivate" else ("zero",):
        found = acting(content.tables.effects, kind, "to mean" if to == "mean" else "headline")
        for control in CONTROLS:
            part = found.filter(pl.col("control") == control)
            every = {row["measure"]: row for row in part.iter_rows(named=True)}
            by = {measure: every[measure] for measure in MEASURES[kind] if measure in every}
            if not by:
                continue
            draws = max(row["draws"] for row in by.values() if not row["measure"].startswith("excess"))
            name = f"{name_selector(content.selector)}, {CONTROLS[control]}"
            name += f" (mean of {draws})" if control != "target" else ""
            name += ", to their mean" if to == "mean" else ""
            name += ", hollow" if any(row["hollow"] for row in by.values()) else ""
            row = {"neurons": name} | {
                heading: _spread(by[measure], "estimate") if measure in by else "–" for measure, heading in MEASURES[kind].items()
            }  # fmt: skip
            if kind == "deactivate":
                row[BLIND] = _blind(blind_part(every.get, count_options(content.run.items)), "excess_gap")
            rows.append(row)
    return _without_dashes(rows)


def _answers(found: pl.DataFrame) -> pl.DataFrame | None:
    if found.is_empty():
        return None
    rows = [
        {
            "condition": row["condition"], "scoring": row["scoring"], "items": str(row["n"]),
            "UAR (%)": f"{number(row['uar'])} {bracket(row['low'], row['high'])}".strip(),
            "accuracy (%)": number(row["accuracy"]), "chance (%)": number(row["chance"]),
            "changed answers (%)": number(row["changed"]), "letter mass": number(row["letter_mass"], 2),
            "agreement (%)": number(row["agreement"]), "in words (%)": number(row["share_word"]),
            "refused (%)": number(row["share_refused"]), "unparsable (%)": number(row["share_unparsable"]),
        }
        for row in found.sort("kind", "condition", "scoring").iter_rows(named=True)
    ]  # fmt: skip
    return pl.DataFrame(rows)


def _done(row: Mapping[str, Any]) -> str:
    if row["kind"] == "steer":
        return f"{'amplified' if row['alpha'] > 0 else 'weakened'}, alpha {row['alpha']:g}".replace("-", "−")
    return DONE.get(row["to"] or "zero", f"set to {row['to']}")


def _spread(row: Mapping[str, Any], name: str, digits: int = 1) -> str:
    ends = (row["low"], row["high"]) if name == "estimate" else (row[f"{name}_low"], row[f"{name}_high"])
    return f"{number(row[name], digits, sign=True)} {bracket(*ends, digits)}".strip()


def _blind(blind: Blind | None, measure: str) -> str:
    """The blind part of a measure, a dash where that holds none or where it is not known."""
    return "–" if blind is None or blind.measure != measure else number(blind.part, sign=True)


def _without_dashes(rows: Sequence[dict[str, str]]) -> pl.DataFrame | None:
    """The table without columns that hold nothing; ``None`` where nothing is left."""
    if not rows:
        return None
    frame = pl.DataFrame(list(rows))
    kept = [name for name in frame.columns if set(frame[name]) != {"–"}]
    return frame.select(kept) if len(kept) > 1 else None


def _without_empty(rows: Sequence[dict[str, str]], column: str) -> pl.DataFrame | None:
    frame = pl.DataFrame(list(rows))
    return None if frame.is_empty() else frame if any(frame[column]) else frame.drop(column)
