"""Published figures beside ours, where model and corpus are the same; to look at, never to test against.

What differs between two such figures is more than the method: clips, wording, software and, where a source is
silent, choices that we do not know.
"""

from __future__ import annotations

import polars as pl

from emoscope.analysis.parts import Part, Row, StudyRuns, first
from emoscope.report.page import Question, Table, read_data
from emoscope.report.wording import made_of
from emoscope.schemas import as_table, empty
from emoscope.vocabulary import acting

PUBLISHED = read_data("published.toml")
"""The published figures; the file says what its entries are."""


def published(part: Part) -> pl.DataFrame:
    """What was published on the model and the corpus of a run, beside what the run found.

    Returns:
        the columns of table ``published``; empty where nothing is known of this model on this corpus. Ours are of the
        headline; the note says where emotions, selector, budget or alpha are others.
    """
    run = part.run
    name = _last(str((run.manifest.get("model") or {}).get("id", "")))
    corpora = sorted(set(run.items.filter(status="used")["corpus"].drop_nulls()))
    found = [
        (paper, model)
        for paper in PUBLISHED["figures"]
        for model in paper["models"]
        if model.lower() == name and len(corpora) == 1 and corpora[0] in paper["corpora"]
    ]
    if not found:
        return empty("published")
    ours, how = _ours(part), _how(run.conditions)
    heard = run.items.filter(pl.col("evaluated").fill_null(False))["truth"].n_unique()
    rows = []
    for paper, model in found:
        for measure, text in paper["texts"].items():
            notes = [paper["note"], f"ours: {how}" if measure not in ("uar", "accuracy") else ""]
            if paper["labels"] not in (0, heard):
                notes.append(f"ours with {heard} emotions, so not comparable")
            row = {"who": paper["who"], "model": model, "corpus": corpora[0], "measure": PUBLISHED["measures"][measure]}
            row |= {"published": text, "ours": ours.get(measure, "–"), "note": "; ".join(filter(None, notes))}
            rows.append(row)
    return as_table("published", rows)


def published_of_study(model: str, transfer: pl.DataFrame) -> pl.DataFrame:
    """What was published of sets fused over languages in a model, beside our sets fused over corpora.

    Args:
        model: its name on the hub or its folder.
        transfer: the table of transfer of a study in parts (``transfer``).

    Returns:
        the columns of table ``published``: a row for each way to fuse, kind of intervention and corpus.
    """
    fused, done = PUBLISHED["fused"], {"deactivate": "off", "steer": "steered"}
    texts: dict[str, str] = next(
        (texts for known, texts in fused["models"].items() if known.lower() == _last(model)), {}
    )
    return as_table(
        "published",
        [
            {"who": fused["who"], "model": model, "corpus": row["host"], "measure": PUBLISHED["measures"][measure]}
            | {"published": texts[measure], "ours": _points(row)}
            | {"note": f"{fused['note']}; ours {row['source']}, over corpora"}
            for row in transfer.filter("fused", measure="gap").iter_rows(named=True)
            if (measure := done.get(row["kind"])) in texts
        ],
    )


def _last(model: str) -> str:
    return model.rstrip("/").rsplit("/", 1)[-1].lower()


def _ours(part: Part) -> dict[str, str]:
    found = {}
    if (row := part.uar()) is not None:
        found["uar"] = f"{row['uar']:.1f} %{_ends(row)}"
        found["accuracy"] = f"{row['accuracy']:.1f} %"
    declared = [kind for kind in ("deactivate", "steer") if _declared(part.run.conditions, kind)]
    measured = (("off", "deactivate", "target"), ("steered", "steer", "target"), ("random", "deactivate", "random"))
    for name, kind, control in measured:
        if kind in declared and (row := part.effect(kind, "gap", control)) is not None:
            found[name] = _points(row)
    cells = acting(part.table("matrix"), "deactivate").filter(pl.col("target") == pl.col("emotion"), control="target")
    if "deactivate" in declared and (changes := sorted(cells["change"])):
        found["cells"] = f"{changes[-1]:+.1f} to {changes[0]:+.1f} points".replace("-", "−")
    return found


def _declared(conditions: pl.DataFrame, kind: str) -> Row | None:
    return first(conditions, pl.col("headline").fill_null(False) & (pl.col("kind") == kind))


def _how(conditions: pl.DataFrame) -> str:
    off, steered = (_declared(conditions, kind) for kind in ("deactivate", "steer"))
    if (headline := off or steered) is None:
        return ""
    alpha = f", alpha {steered['alpha']:g}" if steered else ""
    return f"{str(headline['selector']).upper()}, {100 * headline['budget']:g} % of the neurons{alpha}"


def _points(row: Row) -> str:
    return "–" if row["estimate"] is None else f"{row['estimate']:+.1f} points{_ends(row)}".replace("-", "−")


def _ends(row: Row) -> str:
    return "" if row["low"] is None else f" [{row['low']:.1f}, {row['high']:.1f}]".replace("-", "−")


def tabulate_published(study: StudyRuns) -> pl.DataFrame | None:
    """Published figures on the same model and corpus beside ours, and of fused sets in the same model."""
    model = str((study.manifest.get("model") or {}).get("id", ""))
    found = [part.table("published") for part in study.mains] + [published_of_study(model, study.table("transfer"))]
    return made_of(
        study,
        [
            {"what": row["measure"], "corpus": row["corpus"], "published": row["published"], "ours": row["ours"] or "–"}
            | {"source": row["who"], "note": row["note"] or ""}
            for row in pl.concat(found).iter_rows(named=True)
        ],
    )


QUESTIONS = (
    Question(
        "model",
        30,
        (
            Table(
                "published",
                tabulate_published,
                "Published figures on the same model and corpus beside ours: to look at, not to test against. "
                "Clips, wording and software differ.",
                pages="both",
            ),
        ),
        tables={"published": published},
    ),
)
