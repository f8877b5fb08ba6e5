"""The result tables of a run folder, and of a study that was run in parts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from io import BytesIO
from pathlib import Path

import polars as pl

from emoscope.analysis.accuracy import uar
from emoscope.analysis.effects import effects, evidence, matrix, verdicts
from emoscope.analysis.load import Run, read_run
from emoscope.analysis.parts import Part, StudyRuns, read_study
from emoscope.analysis.rejudged import judged_anew
from emoscope.chapters import questions
from emoscope.chapters.claims import claims, claims_of_study, declared_tests
from emoscope.report.page import write_bytes, write_csv
from emoscope.runs.folder import SHOWN, RunFolder


def compute_tables(run: Run) -> Part:
    """Compute every result table of a run from its stored answers: those that questions share, theirs, and the claims."""
    frames: dict[str, pl.DataFrame] = {}
    part = replace(Part.alone(run), computed=frames)  # it reads what is computed here
    frames["uar"] = uar(run, part.by_scoring)
    frames["effects"] = effects(part.compared)
    frames["matrix"] = matrix(part.compared, part.responses.labels)
    frames["evidence"] = evidence(part.compared)
    frames["verdicts"] = verdicts(part)
    notes = [] if "baseline" in part.responses.rows else ["effects: there are no baseline answers to compare with"]
    for question in questions():
        for name, compute in question.tables.items():
            found = compute(part)
            frames[name], more = (found, ()) if isinstance(found, pl.DataFrame) else found
            notes += more
    frames["tests"] = declared_tests(part)
    frames["claims"] = claims(part)
    done = replace(part, notes=tuple(notes))
    # a page needs them as well, and they are as they were
    vars(done).update(
        {
            name: found
            for name, found in vars(part).items()
            if name in ("responses", "by_scoring", "unreliable", "declared")
        }
    )
    return done


def write_tables(folder: str | Path) -> Part:
    """Compute a run's result tables and write them to ``tables/``, as Parquet and as CSV.

    The same answers give the same bytes: rows are sorted and sums are taken in one order.

    Raises:
        FileNotFoundError: the folder does not exist.
    """
    found = compute_tables(read_run(folder))
    anew = judged_anew(folder, found.table("claims"), found.table("tests"))
    (Path(folder) / SHOWN).unlink(missing_ok=True)
    _write(found.computed, RunFolder(folder))
    return replace(found, notes=(*found.notes, *anew))


def _write(frames: Mapping[str, pl.DataFrame], out: RunFolder) -> None:
    for name, frame in frames.items():
        buffer = BytesIO()
        frame.write_parquet(buffer, compression="zstd", statistics=False)  # as RunFolder.write_table does
        write_bytes(buffer.getvalue(), out / f"tables/{name}.parquet")
        write_csv(frame, out / f"tables/{name}.csv")


def study_tables() -> tuple[str, ...]:
    """Names of the tables of a study in parts, in ``<run>/tables/``; its claims stand there, too."""
    return tuple(name for question in questions() for name in question.study_tables)


def compute_study_tables(folder: str | Path) -> StudyRuns:
    """Compute the tables of a study in parts from the stored answers of its parts.

    Raises:
        FileNotFoundError: the folder holds no study in parts.
    """
    frames: dict[str, pl.DataFrame] = {}
    study = replace(read_study(folder), computed=frames)  # it reads what is computed here
    for question in questions():
        for name, compute in question.study_tables.items():
            frames[name] = compute(study)
    frames["claims"] = claims_of_study(study)
    return replace(study, notes=_study_notes(study))


def write_study_tables(folder: str | Path) -> StudyRuns:
    """Compute the tables of a study in parts and write them to its ``tables/``, as Parquet and as CSV.

    Raises:
        FileNotFoundError: the folder holds no study in parts.
    """
    found = compute_study_tables(folder)
    anew = judged_anew(folder, found.table("claims"))
    _write(found.computed, RunFolder(folder))
    return replace(found, notes=(*found.notes, *anew))


def _study_notes(study: StudyRuns) -> tuple[str, ...]:
    lost = (study.manifest.get("not_transferred") or {}).items()
    return (
        *(f"{part.name}: {part.failed}" for part in study.parts if part.failed),
        *(f"{name}: its sets are not transferred: {why}" for name, why in lost),
        *(
            f"{part.name}: no answers by likelihood to compare with"
            for part in study.parts
            if part.there and part.presentation != "transcription" and part.asked is None
        ),
    )
