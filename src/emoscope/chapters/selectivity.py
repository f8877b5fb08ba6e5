"""How much more the set of an emotion does on clips of that emotion: on the voice, on noise and on the transcript."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import polars as pl

from emoscope.analysis.estimate import Estimate, finite, ratio, replicates
from emoscope.analysis.load import in_known_order
from emoscope.analysis.parts import StudyRuns
from emoscope.chapters.grounding import heard_in_order
from emoscope.report.page import Figure, Question
from emoscope.report.plots import INTERVALS, dots, marks_of
from emoscope.report.theme import title
from emoscope.report.wording import HEARD
from emoscope.schemas import as_table, empty, read_table, schema
from emoscope.vocabulary import MAIN

UNKNOWN = "speakers are unknown"


def selectivity(study: StudyRuns) -> pl.DataFrame:
    """Activity of each emotion's set on clips of that emotion minus on those of the others, per presentation.

    Means are over items within an emotion of the clips; the others are averaged over their emotions.

    Args:
        whole: the study; ``set_activity.parquet`` lies in the folders of its main parts.

    Returns:
        the columns of table ``selectivity``, with jackknife intervals over speakers.
    """
    frames = [empty("set_activity").with_columns(pl.lit(None, pl.String).alias("corpus"))]
    for main in study.of_role(MAIN):
        # parts of different versions may store different further columns
        found = read_table(main.run.folder, "set_activity").select(list(schema("set_activity")))
        frames.append(found.with_columns(pl.lit(main.name).alias("corpus")))
    rows: list[dict[str, Any]] = []
    stored = pl.concat(frames)
    for (corpus, presentation, scope), group in stored.group_by("corpus", "presentation", "scope", maintain_order=True):
        for measure, scale, unit in (("firing", 100.0, "points"), ("mean_activation", 1.0, "activation")):
            about = {"corpus": corpus, "presentation": presentation, "scope": scope, "measure": measure, "unit": unit}
            rows += [about | row for row in _rows(group.with_columns(pl.col(measure) * scale), measure)]
    return as_table("selectivity", rows)


def _rows(stored: pl.DataFrame, measure: str) -> list[dict[str, Any]]:
    emotions = in_known_order(stored["emotion"])
    sets, sizes = _cells(stored, measure, emotions, "target")
    controls, _ = _cells(stored, measure, emotions, "matched")
    unknown = stored["speaker"].null_count() > 0
    rows = []
    for emotion in (None, *emotions):
        places = [emotions.index(emotion)] if emotion is not None else list(range(len(emotions)))
        own, others = (one[:, places].mean(axis=1) for one in sets)
        matched = (controls[0] - controls[1])[:, places].mean(axis=1)
        row = {"emotion": emotion, "own": finite(own[0]), "others": finite(others[0]), "matched": finite(matched[0])}
        row |= Estimate(own - others, sizes).columns() | {"items": int(sizes.sum())}
        row |= Estimate(own - others - matched, sizes).named("excess")
        if unknown:
            row |= dict.fromkeys(("low", "high", "excess_low", "excess_high")) | {"reason": UNKNOWN}
        rows.append(row)
    return rows


def _cells(
    stored: pl.DataFrame, measure: str, emotions: tuple[str, ...], control: str
) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Activity on clips of the set's own emotion and on the others', (1 + speaker, emotion), and items per speaker."""
    truths = in_known_order([*stored["truth"], *emotions])
    speakers = sorted(set(stored["speaker"].fill_null("")))
    sums = np.zeros((len(speakers), len(emotions), len(truths)))
    items = np.zeros_like(sums)
    mine = stored.filter(pl.col("control").fill_null("target") == control)
    for row in mine.select("speaker", "emotion", "truth", "items", measure).iter_rows(named=True):
        place = speakers.index(row["speaker"] or ""), emotions.index(row["emotion"]), truths.index(row["truth"])
        sums[place] += row[measure] * row["items"]
        items[place] += row["items"]
    cells = ratio(replicates(sums), replicates(items))
    heard = [truth for truth in range(len(truths)) if items[:, :, truth].any()]
    if not heard:  # a study without such controls
        nothing = np.full(cells.shape[:2], np.nan)
        return (nothing, nothing), items[:, 0].sum(axis=1)
    places = [truths.index(emotion) for emotion in emotions]
    own = np.stack([cells[:, e, place] for e, place in enumerate(places)], axis=1)
    rest = [[truth for truth in heard if truth != place] for place in places]
    others = np.stack([cells[:, e, list(one)].mean(axis=1) for e, one in enumerate(rest)], axis=1)
    return (own, others), items[:, 0].sum(axis=1)


def draw_selectivity(study: StudyRuns) -> Any | None:
    """Activity of the headline's neurons on clips of their emotion minus that on the others, by what is heard."""
    found = study.table("selectivity")
    if found.is_empty():
        return None
    found = found.filter(pl.col("emotion").is_null() & pl.col("estimate").is_not_null())
    rows = [f"{corpus}: {HEARD.get(one, one)}" for corpus, one in heard_in_order(study, found)]
    charts: list[Any] = []
    for measure, x in (
        ("firing", "own minus other clips: firing (points)"),
        ("mean_activation", "own minus other clips: activation"),
    ):
        part = found.filter(pl.col("measure") == measure)
        marked = [
            {"row": f"{row['corpus']}: {HEARD.get(row['presentation'], row['presentation'])}", "series": "selected"} | marks_of(row)
            for row in part.iter_rows(named=True)
        ]  # fmt: skip
        if marked:
            charts.append(dots(marked, rows, x, "corpus", not charts, width=280))
    if not charts:
        return None
    return alt.hconcat(*charts, spacing=24).properties(
        title=title(
            "Do the neurons still tell their emotion apart without the voice?",
            f"{INTERVALS} Activity of an emotion’s neurons on clips of that emotion minus that on the others, mean over emotions; zero: they do not.",
        )
    )  # fmt: skip


QUESTIONS = (
    Question(
        "grounding",
        20,
        (
            Figure(
                "selectivity", draw_selectivity, "the sets’ activity without the voice was not recorded", pages="study"
            ),
        ),
        study_tables={"selectivity": selectivity},
    ),
)
