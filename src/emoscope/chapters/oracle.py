"""Which selector finds the neurons that cause: scores beside what single neurons do when they are truly switched off."""

from __future__ import annotations

import polars as pl

from emoscope.analysis.oracle_tables import ORACLE
from emoscope.analysis.parts import Part, Row, StudyRuns, first
from emoscope.neurons.variants import RANDOM
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import INTERVALS, dots, reach, stacked
from emoscope.report.theme import Chart, title
from emoscope.report.wording import by_key, name_selector, of_corpus
from emoscope.wording import estimate_text, listed, number

NAMES = {"oracle": "single neurons off", "oracle-patched": "single neurons patched", RANDOM: "random neurons"}
"""What stands beside selectors, in words."""


def called(selector: str) -> str:
    """A selector's name, or what stands beside selectors, in words."""
    return NAMES.get(selector) or name_selector(selector)


def ranks(part: Part) -> pl.DataFrame:
    """How well every selector's scores foretell what switching single neurons off does, over all emotions and neurons asked."""
    found = part.table("oracle_ranks").filter(pl.col("emotion").is_null(), to="zero", among="all asked")
    return found.sort("spearman", descending=True, nulls_last=True)


def areas(part: Part) -> pl.DataFrame:
    """The effect over all sizes together of every selector's neurons, the strongest first."""
    return part.table("oracle_areas").filter(pl.col("against").is_null()).sort("area", nulls_last=True)


def _marks(found: pl.DataFrame, measure: str) -> list[Row]:
    series = {RANDOM: "control"} | dict.fromkeys(ORACLE.values(), "difference")
    ends = {"estimate": measure, "low": f"{measure}_low", "high": f"{measure}_high"}
    return [
        {"row": called(row["selector"]), "series": series.get(row["selector"], "selected")}
        | {end: row[name] for end, name in ends.items()}
        for row in found.drop_nulls(measure).iter_rows(named=True)
    ]


def draw_oracle(study: StudyRuns) -> Chart | None:
    """Every selector's rank correlation with the true effects, and the effect of its neurons over all sizes."""
    drawn: dict[str, list[Chart]] = {}
    for part in study.mains:
        left, right = _marks(ranks(part), "spearman"), _marks(areas(part), "area")
        if left and right:
            order = list(dict.fromkeys(row["row"] for row in (*right, *left)))
            x, beside = "rank correlation with the true effect", "pairwise change, mean over sizes (nat)"
            drawn[part.name] = [
                dots(left, order, x, "neurons by", width=330, domain=reach(left)),
                dots(right, order, beside, "", False, width=330, domain=reach(right)),
            ]
    return stacked(
        drawn,
        title(
            "Which scores foretell what a neuron does",
            f"{INTERVALS} Circle: a selector; square: the true effect of single neurons on other speakers’ clips, as a "
            "selector: the mark to reach; diamond: random neurons. Left: further right is better. Right: switched off "
            "together, at sizes from a sixteenth of the headline’s sets up; further left takes more.",
        ),
    )


def tabulate_oracle(part: Part) -> pl.DataFrame | None:
    """A row a selector: how well its scores foretell, what its sets do at every size, alone, and a tenth less or more."""
    sets = part.table("oracle_sets")
    if sets.is_empty():
        return None
    size, rows = int(sets["size_wanted"].max()), []  # type: ignore[arg-type]
    every = part.table("oracle_ranks").filter(pl.col("emotion").is_null(), among="all asked")
    correlated = by_key(every, "to", "selector")
    for area in areas(part).iter_rows(named=True):
        name = area["selector"]
        own = sets.filter(selector=name, size_wanted=size)
        off, equal, keep, others = (first(own, act=act) for act in ("off", "equal activity", "keep", "keep others"))
        less = own.filter(act="a tenth less")["excess"].drop_nulls().to_list()
        ends = [number(end(less), 3, sign=True) for end in (min, max)] if less else []
        rows.append({
            "neurons by": called(name),
            "rank correlation, off": estimate_text(correlated.get(("zero", name)), "spearman", 2),
            "patched": estimate_text(correlated.get(("partner", name)), "spearman", 2),
            "over all sizes (nat)": estimate_text(area, "area", 3),
            f"best {size} off (nat)": estimate_text(off, "effect", 3),
            "of equal activity (nat)": estimate_text(equal, "effect", 3),
            "neurons for it": "–" if equal is None else number(equal["neurons"], 0),
            "kept alone: own pairs left (%)": _left(keep),
            "others kept": _left(others),
            "a tenth less (nat)": " to ".join(ends) or "–",
            "a tenth more (nat)": estimate_text(first(own, act="a tenth more"), "excess", 3),
        })  # fmt: skip
    return pl.DataFrame(rows)


def _left(row: Row | None) -> str:
    """What own pairs keep of their separation, in %."""
    if row is None or row["own_share"] is None:
        return "–"
    ends = {
        name: None if row[name] is None else 100 + row[name]
        for name in ("own_share", "own_share_low", "own_share_high")
    }
    return estimate_text(ends, "own_share", sign=False)


def say_oracle(study: StudyRuns) -> list[str]:
    """Whose scores foretell what single neurons do, and whose neurons take most at all sizes."""
    sentences = []
    for part in study.mains:
        found, strongest = ranks(part), areas(part)
        if found.is_empty() or strongest.is_empty():
            continue
        clear = found.filter(pl.col("spearman_low") > 0)["selector"].to_list()
        clear = [name for name in clear if name not in NAMES]
        neurons = number(found["neurons"][0], 0)
        text = f"Of {neurons} neurons that were switched off one by one, the scores of {listed([called(name) for name in clear])} foretell what each does on other speakers’ clips"
        if not clear:
            text = f"Of {neurons} neurons that were switched off one by one, no selector’s scores are shown to foretell what each does on other speakers’ clips"
        ceiling = first(found, selector="oracle")
        best = first(found.filter(~pl.col("selector").is_in(list(NAMES))).drop_nulls("spearman"))
        parts = [] if best is None else [f"{called(best['selector'])} {estimate_text(best, 'spearman', 2)}"]
        parts += (
            []
            if ceiling is None
            else [f"the neurons’ own effects on other clips {estimate_text(ceiling, 'spearman', 2)}"]
        )
        sentences.append(of_corpus(study, part, f"{text} (rank correlation: {'; '.join(parts)})."))
        named = strongest.filter(~pl.col("selector").is_in(list(NAMES)))
        told = [
            *named.head(1).to_dicts(),
            *(row for name in ("oracle", RANDOM) if (row := first(strongest, selector=name))),
        ]
        amounts = listed([f"{called(row['selector'])} {estimate_text(row, 'area', 3)} nat" for row in told])
        sentences.append(of_corpus(study, part, f"Over all sizes of sets that are switched off, they take: {amounts}."))
    return sentences


QUESTIONS = (
    Question(
        "which",
        30,
        (
            Figure("oracle", draw_oracle, pages="both"),
            Table(
                "oracle",
                tabulate_oracle,
                "Every selector’s neurons, with 95 % intervals over speakers. Rank correlation: of its scores with what "
                "each neuron does by itself, switched off or patched with the same speaker’s clips of other emotions, on "
                "clips of other speakers. Nat: pairwise change, own pairs minus others, of sets: over all sizes; of the "
                "headline’s size; of as many as write what the headline’s set does. Kept alone: what own pairs keep where all "
                "other neurons of the set’s layers are at their mean, and where as many others are kept. A tenth less (least "
                "and most of the ten) and a random tenth more: beyond the whole set.",
            ),
        ),
        says=say_oracle,
        says_on="both",
    ),
)
