"""What each chapter of a whole study's report says first; by rule, from the tables of its main parts."""

from __future__ import annotations

from dataclasses import replace

import polars as pl

from emoscope.analysis.blind import BLIND_PART
from emoscope.analysis.claim_rules import KEPT
from emoscope.report.caveats import CLOSE
from emoscope.report.content import bracket, name_selector, number
from emoscope.report.effect_charts import INJECTED
from emoscope.report.whole.content import CLEAR_HIGH, CLEAR_LOW, OPEN, UNTESTED, Whole, first, judge
from emoscope.report.whole.outcomes import listed, outcome, tally
from emoscope.vocabulary import LEVEL, acting

ENOUGH = 100 * KEPT
"""Of the full set's gap, in %: the fewest clips that reach it are named."""

VERDICTS = {
    "removes evidence": "the model loses evidence for the emotion", "pulls the answer": "the answer moves without a loss of evidence",
    "both": "evidence is lost and the answer moves besides", "neither": "neither evidence nor the answer moves",
    "undecided": "undecided",
}  # fmt: skip


def selectors(whole: Whole) -> list[str]:
    """From which other selectors the headline's can be told apart, on each corpus."""
    said = []
    for part in whole.mains:
        table = part.table("differences")
        if table is None or part.selector is None:
            continue
        found = table.filter(
            (pl.col("kind") == "deactivate") & (pl.col("measure") == "gap") & (pl.col("first") == part.selector)
            & pl.col("budget").eq_missing(pl.lit(part.budget))
        )  # fmt: skip
        groups: dict[str, list[str]] = {}
        for row in found.iter_rows(named=True):
            groups.setdefault(judge(row, part)[0], []).append(name_selector(row["second"]))
        words = {
            CLEAR_LOW: "more specific than {}", CLEAR_HIGH: "less specific than {}", OPEN: "not told apart from {}",
            UNTESTED: "not compared with {}",
        }  # fmt: skip
        texts = [text.format(listed(groups[name])) for name, text in words.items() if name in groups]
        if texts:
            said.append(f"On {part.name}, {name_selector(part.selector)}’s neurons are {listed(texts)}.")
    return said


def deactivation(whole: Whole) -> list[str]:
    """Whether switching the headline's neurons off hurts their own emotion more, beyond matched neurons."""
    found = []
    for part in whole.mains:
        one, blind = outcome(part.name, part.effect("deactivate", "excess_gap"), part), part.blind()
        told = blind is not None and blind.measure == "excess_gap" and one.text
        found.append(replace(one, text=f"{one.text} ({blind.brief()})") if blind and told else one)
    said = tally(
        found,
        "Switching the headline’s neurons off hurts their own emotion more than the others, beyond matched neurons: {}.",
        "It hurts their own emotion less than matched neurons do: {}.",
        "Whether it hurts their own emotion more than matched neurons do is open: {}.",
    )
    if any("blind part" in one.text for one in found):
        said.append(BLIND_PART)
    return [*said, *_verdicts(whole, "deactivate", "Switched off"), *_close(whole)]


def steering(whole: Whole) -> list[str]:
    """Whether amplification draws answers, whether more amplification draws more, and where the letters give way."""
    found = [outcome(part.name, part.effect("steer", "excess_pull_overall"), part) for part in whole.mains]
    said = tally(
        found,
        "Amplified, they draw fewer clips to their emotion than matched neurons do: {}.",
        "Amplified, they draw more clips to their emotion than matched neurons do: {}.",
        "Whether they draw more clips to their emotion than matched neurons do is open: {}.",
    )
    return [*said, *_verdicts(whole, "steer", "Amplified"), *_rises(whole), *_collapse(whole)]


def efficiency(whole: Whole) -> list[str]:
    """The fewest clips per emotion whose sets reach most of the full set's gap."""
    said = []
    for part in whole.mains:
        table = part.table("efficiency")
        if table is None:
            continue
        found = part.own(part.sized(table)).filter(pl.col("draw").is_null() & pl.col("gap").is_not_null()).sort("size")
        full = first(found, pl.col("full"))
        if full is None:
            continue
        row = {"estimate": full["gap"], "low": full["gap_low"], "high": full["gap_high"], "reason": full["reason"]}
        judged, why = judge(row, part)
        if judged != CLEAR_LOW:
            because = f" ({why})" if why else f" ({number(full['gap'], sign=True)} points)"
            said.append(
                f"On {part.name} the full set has no gap clear of zero{because}, of which a share could be named."
            )
            continue
        enough = first(found, 100 * pl.col("gap") / full["gap"] >= ENOUGH)
        if enough is not None and not enough["full"]:
            said.append(
                f"On {part.name}, neurons found from {enough['size']} clips per emotion reach {number(enough['gap'], sign=True)} points "
                f"{bracket(enough['gap_low'], enough['gap_high'])}, {number(100 * enough['gap'] / full['gap'], 0)} % of the "
                f"full set’s gap ({number(full['gap'], sign=True)}, from {full['size']})."
            )
        else:
            said.append(
                f"On {part.name}, no smaller number of clips reaches {ENOUGH:g} % of the full set’s gap "
                f"({number(full['gap'], sign=True)} points, from {full['size']} clips per emotion)."
            )
    if said:
        said.append(
            "These gaps are not compared with matched neurons of their own; those of the full set stand beside them."
        )
    return said


def layers(whole: Whole) -> list[str]:
    """Which layers hold more of the headline's neurons than of sets found on shuffled labels."""
    said = []
    for part in whole.mains:
        table = part.table("layers")
        if table is None:
            continue
        shares = part.own(part.sized(table)).group_by("control", "draw", "layer").agg(pl.col("share").mean())
        own = shares.filter(pl.col("control") == "target").select("layer", "share")
        most = shares.filter(pl.col("control") == "shuffled").group_by("layer").agg(pl.col("share").max().alias("most"))
        if own.is_empty() or most.is_empty():
            continue
        above = (
            own.join(most, on="layer").filter(pl.col("share") > pl.col("most")).sort(pl.col("share") - pl.col("most"))
        )
        if above.is_empty():
            said.append(
                f"On {part.name} no layer holds more of them than every set found on shuffled labels has there."
            )
            continue
        top = above.row(-1, named=True)
        which = listed([str(layer) for layer in sorted(above["layer"].to_list())])
        said.append(
            f"On {part.name}, layer{'s' if len(above) > 1 else ''} {which} hold{'' if len(above) > 1 else 's'} more of them than any set "
            f"found on shuffled labels; furthest above stands layer {top['layer']} with {number(top['share'])} % "
            f"(shuffled: at most {number(top['most'])} %)."
        )
    return said


def agnostic(whole: Whole) -> list[str]:
    """Which ways to steer without a label change UAR beyond matched neurons."""
    found = []
    for part in whole.mains:
        table = part.table("agnostic")
        if table is None:
            continue
        own = part.own(part.sized(table)).filter(
            (pl.col("against") == "matched") & (pl.col("measure") == "uar_change") & (pl.col("way") != "targeted")
        )
        found += [outcome(f"{part.name}, {INJECTED[row['way']]}", row, part) for row in own.iter_rows(named=True)]
    if not found:
        return []
    clear = [one for one in found if one.found in (CLEAR_LOW, CLEAR_HIGH)]
    said = tally(
        clear,
        "UAR falls more than under matched neurons: {}.",
        "Without being told the emotion, UAR rises beyond matched neurons: {}.",
        "",
    )
    tested = [one for one in found if one.found != UNTESTED]
    if not tested:
        return [f"Not tested: {found[0].why}."]
    rest = len(tested) - len(clear)
    if rest:
        said.append(
            f"In {rest} of {len(tested)} cases (corpora and ways) whether UAR rises or falls beyond matched neurons is open."
        )
    return said


def _close(whole: Whole) -> list[str]:
    """A warning where sets found on shuffled labels do nearly what the headline's do; see ``caveats.close``."""
    texts = []
    for part in whole.mains:
        own, shuffled = part.effect("deactivate", "gap"), part.effect("deactivate", "gap", "shuffled")
        if not own or not shuffled or not own["estimate"] or shuffled["estimate"] is None:
            continue
        way = 1 if own["estimate"] > 0 else -1
        ends = [way * shuffled[name] for name in ("draw_min", "draw_max") if shuffled[name] is not None]
        most = max(ends, default=way * shuffled["estimate"])
        if shuffled["estimate"] / own["estimate"] >= CLOSE or most >= abs(own["estimate"]):
            texts.append(
                f"{part.name} ({number(shuffled['estimate'], sign=True)} points on average and {number(way * most, sign=True)} at most, "
                f"against {number(own['estimate'], sign=True)})"
            )
    return [f"Neurons found on shuffled labels come close: {listed(texts)}."] if texts else []


def _verdicts(whole: Whole, kind: str, lead: str) -> list[str]:
    groups: dict[str, list[str]] = {}
    for part in whole.mains:
        row = part.verdict(kind)
        if row is not None and row["verdict"] in VERDICTS:
            groups.setdefault(row["verdict"], []).append(part.name)
    if not groups:
        return []
    texts = [f"{VERDICTS[name]} on {listed(groups[name])}" for name in VERDICTS if name in groups]
    return [f"{lead}, by the rule of verdicts: {'; '.join(texts)}."]


def _rises(whole: Whole) -> list[str]:
    found = []
    for part in whole.mains:
        table = part.table("trend")
        if table is None:
            continue
        rows = part.own(part.sized(table)).filter((pl.col("layers") == "all") & (pl.col("positions") == "all"))
        row = first(rows, pl.col("measure") == "excess_pull")
        one = outcome(part.name, row and {**row, "estimate": row["slope"]}, part, "points per unit of alpha")
        if row is not None and one.found == CLEAR_HIGH:  # Page's test must hold, too
            sure = row["p"] is not None and row["p"] < LEVEL
            one = replace(
                one, found=CLEAR_HIGH if sure else OPEN if row["p"] is not None else UNTESTED, why=row["reason"] or ""
            )
        found.append(one)
    return tally(
        found,
        "Beyond matched neurons, fewer of their own clips are answered so as alpha grows to 1: {}.",
        "More amplification does more: up to alpha 1 the answers gained on their own clips rise beyond matched neurons: {}.",
        "Whether more amplification draws more of their own clips than it does with matched neurons is open: {}.",
    )


def _collapse(whole: Whole) -> list[str]:
    """Strengths at which the model hardly answers with a letter any more."""
    said = []
    for part in whole.mains:
        levels, conditions = part.table("uar"), part.stored("conditions")
        if levels is None or conditions is None or "role" not in conditions.columns:
            continue
        asked = acting(conditions, "steer", "headline", "dose").filter(pl.col("control") == "target")
        means = asked.join(levels.filter(pl.col("scoring") == "likelihood"), on="condition").group_by("alpha")
        low = means.agg(pl.col("letter_mass").mean()).filter(pl.col("letter_mass") < 0.5).sort("alpha")
        if len(low):
            alphas = listed([f"{alpha:g}".replace("-", "−") for alpha in low["alpha"]])
            said.append(
                f"On {part.name}, at alpha {alphas} the letters’ probability is below 0.5: these answers support no claim."
            )
    return said
