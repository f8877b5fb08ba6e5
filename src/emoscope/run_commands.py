"""The commands that run studies and set finished runs beside each other (heavy modules are imported where they are used)."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Annotated, Any

from cyclopts import Parameter

from emoscope import __version__
from emoscope.runs.ending import end, stop_after


def run_and_print(
    study: Any,
    out: Path | None,
    pilot: int | None,
    dry_run: bool,
    fresh: bool,
    shard: str | None,
    stop: str | None,
    log: str,
) -> int:
    """Run a study and print its result; returns the exit code."""
    from emoscope.runs.shards import Shard

    share = Shard.parse(shard) if shard else None
    if share and fresh:
        raise ValueError("--fresh with --shard would delete what other shards have done: delete the run once, before")
    if stop:
        stop_after(stop)
    full = study if pilot is not None else None
    if pilot is not None:
        study = study.pilot(pilot)
    place = out or Path("runs") / study.name
    if dry_run:
        from emoscope.experiments.dry_run import dry_run as show

        show(study)
        return 0
    from emoscope.experiments.pipeline import run_study
    from emoscope.runs import Log, RunFolder

    if fresh and place.exists():
        _delete_run(place)
    folder = RunFolder(place, create=True)
    progress = Log(log, folder / (f"log-{share.number}-of-{share.of}.jsonl" if share else "log.jsonl"))
    try:
        run_study(study, folder.path, progress, full=full, shard=share)
    except BaseException as error:
        code = end(error, folder.path)
        with contextlib.suppress(OSError):
            progress.event("ended", code=code)
        return code
    finally:
        progress.close()
    if share:
        return 0
    if log != "json" and full:
        from emoscope.experiments.pilot_summary import print_pilot

        print_pilot(folder)
    elif log != "json":
        from emoscope.experiments.summary import print_result

        print_result(folder)
    return 0


def _delete_run(place: Path) -> None:
    """Delete a run; what marks finished work goes first and what marks a run folder last, so it may be stopped anywhere."""
    import shutil

    from emoscope.runs.locks import refuse_in_use

    if not any((place / name).is_file() for name in ("study.toml", "log.jsonl")) and any(place.iterdir()):
        raise ValueError(f"{place} is not a run folder (no study.toml): --fresh deletes run folders only")
    refuse_in_use(place)
    shutil.rmtree(place / "units", ignore_errors=True)
    for path in place.iterdir():
        if path.name not in ("study.toml", "log.jsonl"):
            shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    shutil.rmtree(place)


def compare(
    *runs: Annotated[Path, Parameter(help="folders of finished runs, or exported copies")],
    html: Annotated[Path | None, Parameter(help="also write one page with charts, which opens offline")] = None,
) -> int:
    """Show finished runs side by side, and say which of their numbers cannot be compared."""
    from rich import box
    from rich.console import Console
    from rich.table import Table

    from emoscope.analysis.side_by_side import side_by_side
    from emoscope.report.compare_page import shown, write_compare_page

    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run is given: give at least two folders, emoscope compare RUN RUN")
    if html and not html.resolve().parent.is_dir():
        raise ValueError(f"{html} cannot be written: the folder {html.resolve().parent} does not exist")
    rows, differences = side_by_side(runs)
    text = shown(rows)
    console = Console()
    # a run a column: the table stays narrow however many numbers there are
    table = Table("", *text["run"].to_list(), box=box.SIMPLE_HEAD)
    for column in text.columns[1:]:
        table.add_row(column, *text[column].to_list())
    console.print(table)
    for difference in differences:
        console.print(f"Not comparable: {difference}.", highlight=False, soft_wrap=True)
    if not differences:
        console.print("Same question, same emotions, same headline: the numbers can be compared.", highlight=False)
    if html:
        write_compare_page(rows, differences, html, __version__)
        console.print(f"Page: {html.resolve()}", highlight=False, soft_wrap=True)
    return 0
