"""Is it the emotion, or would any neurons do?"""

from __future__ import annotations

from statistics import median

import polars as pl

from emoscope.analysis.declared import SUPPORTED
from emoscope.analysis.parts import Part, Row, StudyRuns
from emoscope.analysis.potency import MISNAMED, potency
from emoscope.report.page import Figure, Question, Table
from emoscope.report.plots import BEYOND, GAP, INTERVALS, marks_of, panels
from emoscope.report.theme import Chart, title
from emoscope.report.wording import CONTROLS, on
from emoscope.vocabulary import TARGET
from emoscope.wording import listed, number

ROWS = (
    (CONTROLS["target"], "gap", "target", "selected"),
    (BEYOND, "excess_gap", "target", "difference"),
    *((name, "gap", control, "control") for control, name in CONTROLS.items() if control != "target"),
    ("missed clips", "gap", "misses", "control"),
    ("false alarms", "gap", "false-alarms", "control"),
)
"""The headline's neurons and every control: name, measure, whose sets, and series of the picture."""


def draw_controls(study: StudyRuns) -> Chart | None:
    """The gap of the headline's neurons and of every control, a panel a corpus."""
    frames = {
        part.name: [
            {"row": name, "series": series} | marks_of(row)
            for name, measure, control, series in ROWS
            if (row := part.effect("deactivate", measure, control)) is not None and row["estimate"] is not None
        ]
        for part in study.mains
    }
    there = {row["row"] for rows in frames.values() for row in rows}
    return panels(
        frames,
        [name for name, *_ in ROWS if name in there],
        GAP,
        "neurons",
        title(
            "The headline’s neurons next to every control",
            f"{INTERVALS} Further left: hurts its own emotion more than the others. Controls are means over draws; "
            "missed clips and false alarms: the same selector on clips that were answered wrongly.",
        ),
    )


def say_controls(study: StudyRuns) -> list[str]:
    """Whether random, shuffled and wrong answers' neurons do as much as the headline's."""
    sentences = []
    for control, name in (("shuffled", "neurons found on shuffled labels"), ("random", "random neurons")):
        texts = []
        for part in study.mains:
            own, row = part.effect("deactivate", "gap"), part.effect("deactivate", "gap", control)
            if own and row and own["estimate"] and row["estimate"] is not None:
                share = number(100 * row["estimate"] / own["estimate"], 0)
                gaps = f"{number(row['estimate'], sign=True)} of {number(own['estimate'], sign=True)} points"
                texts.append(f"{share} %{on(study, part)} ({gaps})")
        if texts:
            sentences.append(f"Of the headline’s gap, {name} reach {listed(texts)}.")
    return sentences + [
        sentence for part in study.mains for sentence in say_untrained(part.table("untrained"), on(study, part))
    ]


RANDOM = {"decoder": "a random text decoder", "all": "random weights throughout"}
"""Which weights are random, in words."""


def say_untrained(models: pl.DataFrame, where: str = "") -> list[str]:
    """How often a declared claim held on models that have learned nothing: a sentence for each kind of them.

    Args:
        models: table ``untrained``.
        where: of which corpus, as words for the sentence.

    Example:
        >>> rows = {"weights": ["all"] * 2, "verdict": ["supported", "not supported"], "vacuous": [False, True]}
        >>> say_untrained(pl.DataFrame(rows))
        ['Of 2 models with random weights throughout, the claim that switching off takes evidence holds on 1; by chance it would on 1 in 40 at most. From 1 of them a probe cannot read the emotion: vacuous, as nothing could be found there.']
    """
    sentences = []
    for weights in (name for name in RANDOM if name in models["weights"]):
        rows = models.filter(weights=weights)
        held, vacuous = int((rows["verdict"] == SUPPORTED).sum()), int(rows["vacuous"].sum())
        text = f"Of {len(rows)} models with {RANDOM[weights]}{where}, the claim that switching off takes evidence holds on {held}"
        text += "; by chance it would on 1 in 40 at most."
        if vacuous:
            text += (
                f" From {vacuous} of them a probe cannot read the emotion: vacuous, as nothing could be found there."
            )
        sentences.append(text)
    return sentences


CALLED = {**CONTROLS, MISNAMED: "selected, wrongly named"}


def tabulate_potency(part: Part) -> pl.DataFrame | None:
    """How much the headline's sets and every control move the answers, and how specifically."""
    rows = []
    places = {name: place for place, name in enumerate(dict.fromkeys([TARGET, MISNAMED, *CALLED]))}
    found = part.table("potency").sort("kind", "alpha", pl.col("control").replace_strict(places, default=None))
    for row in found.iter_rows(named=True):
        off = row["alpha"] is None

        def span(name: str, digits: int, row: Row = row) -> str:
            ends = [number(row[f"{name}_{end}"], digits, sign=name == "gap") for end in ("min", "max")]
            mean = number(row[name], digits, sign=name == "gap")
            return f"{mean} ({' to '.join(ends)})" if row["draws"] > 1 else mean

        done = {"neurons": CALLED.get(row["control"], row["control"]), "alpha": "off" if off else f"{row['alpha']:g}"}
        rows.append(
            done | {"draws": str(row["draws"]), "divergence (nat)": span("kl", 3), "gap (points)": span("gap", 1)}
        )
    return pl.DataFrame(rows) if rows else None


def tabulate_untrained(part: Part) -> pl.DataFrame | None:
    """The models with random weights, a row a kind; ``None`` where none was asked."""
    models, rows = part.table("untrained"), []
    for weights in (name for name in RANDOM if name in models["weights"]):
        of = models.filter(weights=weights)
        effects, probes = ([*of[name].drop_nulls()] for name in ("estimate", "probe"))
        spread = f"{number(min(effects), 3)} to {number(max(effects), 3)}" if effects else "–"
        rows.append({
            "random": RANDOM[weights], "models": str(len(of)),
            "switching off takes evidence": str((of["verdict"] == SUPPORTED).sum()),
            "amplifying adds evidence": str((of["steers"] == SUPPORTED).sum()),
            "pairwise change, nat": spread, "probe, median %": number(median(probes)) if probes else "–",
            "vacuous": str(of["vacuous"].sum()),
        })  # fmt: skip
    return pl.DataFrame(rows) if rows else None


UNTRAINED = (
    "The same study on models of the same architecture with random weights: how many there are, on how many each declared "
    "claim holds, the range of its estimate, and what a linear probe reads from their activations. Vacuous are those from "
    "which it reads nothing clearly above chance."
)

QUESTIONS = (
    Question(
        "controls",
        5,
        (
            Figure("controls", draw_controls, "no control was switched off", pages="study"),
            Table(
                "potency",
                tabulate_potency,
                "How far the options’ probabilities move from the untouched model’s (mean Kullback-Leibler divergence over "
                "clips and sets), and the gap (amplified: pull gap); means over draws, in brackets the least and the most. "
                "Wrongly named: the selected sets under the names of the other emotions, which are as potent.",
            ),
            Table("untrained", tabulate_untrained, UNTRAINED),
        ),
        tables={"potency": lambda part: potency(part.responses, part.compared)},
        says=say_controls,
        says_on="both",
    ),
)
