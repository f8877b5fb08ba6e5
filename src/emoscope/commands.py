"""The longer commands: studies, finished runs, `emoscope model …` (heavy modules are imported in them)."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from cyclopts import App, Parameter

from emoscope import __version__
from emoscope.runs.ending import end, stop_after

if TYPE_CHECKING:
    from emoscope.experiments.schema import Study

ASSUMED: dict[str, Any] = {
    "between": 0.13, "within": 0.29, "sets": 0.09, "emotions": 7, "whole": 4.6, "alone": 0.29, "names": 0.05, "names_alone": 0.24,
}  # fmt: skip
"""How the claim *exists* varies where no run says it: as in docs/example-run (nat)."""

Shown = Annotated[Literal["bars", "json", "quiet"], Parameter(name="--log", help="progress")]

SPEAKERS = (5, 8, 10, 15, 24, 50, 100)


def refuse_without_folder(*files: Path | None) -> None:
    """Refuse files to write whose folder does not exist, before any work is done for them."""
    for path in files:
        if path and not path.resolve().parent.is_dir():
            raise ValueError(f"{path} cannot be written: the folder {path.resolve().parent} does not exist")


def run_and_print(
    study: Study,
    out: Path | None,
    pilot: int | None,
    dry_run: bool,
    fresh: bool,
    shard: str | None,
    stop: str | None,
    log: str,
    study_file: Path | None = None,
    registration: Path | None = None,
) -> int:
    """Run a study and print its result; returns the exit code."""
    from emoscope.runs.shards import Shard

    share = Shard.parse(shard) if shard else None
    if share and fresh:
        raise ValueError("--fresh with --shard would delete what other shards have done: delete the run once, before")
    if stop:
        stop_after(stop)
    full = study if pilot is not None else None
    study = study if pilot is None else study.pilot(pilot)
    place = out or Path("runs") / study.name
    if dry_run:
        from emoscope.experiments.parts import dry_run as show

        show(study)
        return 0
    from emoscope.experiments.engine import run_study
    from emoscope.runs import Log, RunFolder

    if fresh and place.exists():
        _delete_run(place)
    folder = RunFolder(place, create=True)
    if not full:  # a pilot is what comes before
        from emoscope.experiments.registration import take_registration

        take_registration(folder, study_file, registration)
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
    if log != "json":
        from emoscope.experiments.result import print_pilot, print_result

        (print_pilot if full else print_result)(folder)
    return 0


def preregister(
    study: Annotated[Path, Parameter(help="a study file")],
    *,
    out: Annotated[Path | None, Parameter(help="file to write; <study>.registration.json beside it by default")] = None,
    looks: Annotated[int, Parameter(help="how often the evaluated clips are to be looked at")] = 1,
) -> int:
    """Write down what a study declares, with a hash and the time, before it is run; `emoscope run` compares."""
    from emoscope.experiments.registration import ENDING, as_json
    from emoscope.experiments.registration import preregister as write_down
    from emoscope.experiments.study import read_study

    file = out or study.with_suffix(ENDING)
    refuse_without_folder(file)
    print(as_json(write_down(read_study(study), file, looks)), end="")
    print(f"Registered: {file.resolve()}. Put the hash where others can see it.", file=sys.stderr)
    return 0


def _delete_run(place: Path) -> None:
    """Delete a run; what marks finished work goes first and what marks a run folder last, so it may be stopped anywhere."""
    import shutil

    from emoscope.runs.shards import refuse_in_use

    if not any((place / name).is_file() for name in ("study.toml", "log.jsonl")) and any(place.iterdir()):
        raise ValueError(f"{place} is not a run folder (no study.toml): --fresh deletes run folders only")
    refuse_in_use(place)
    for units in (place / "units", *place.glob("parts/*/units")):
        shutil.rmtree(units, ignore_errors=True)
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

    from emoscope.chapters.comparison import shown, side_by_side, write_compare_page
    from emoscope.runs.folder import refuse_study

    for run in runs:
        refuse_study(run)
    if len(runs) < 2:
        raise ValueError(f"{len(runs)} run is given: give at least two folders, emoscope compare RUN RUN")
    refuse_without_folder(html)
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


def judge(
    answers: Annotated[Path, Parameter(help="a table of answers: Parquet, CSV or JSON lines, as docs/judge.md says")],
    *,
    alpha: Annotated[float | None, Parameter(help="the declared strength of steering, where there are several")] = None,
    control: Annotated[
        str | None, Parameter(help="beyond which control sets; orthogonal or matched by default")
    ] = None,
    out: Annotated[Path | None, Parameter(help="also write the claims as a table: .json, .parquet or .csv")] = None,
) -> int:
    """Decide the declared claims about anybody's interventions from the answers under them, without a model."""
    from emoscope.analysis.answer_table import write_frame
    from emoscope.analysis.judging import judge as decide

    refuse_without_folder(out)
    found = decide(answers, alpha, control)
    print(found)
    if out:
        write_frame(found.tests, out)
        print(f"Wrote {out.resolve()}")
    return 0


def power(
    run: Annotated[Path | None, Parameter(help="take the spread from this finished run or pilot")] = None,
    *,
    loss: Annotated[float, Parameter(help="the relative loss that is to be seen, in %")] = 10.0,
    claim: Annotated[str, Parameter(help="exists or disproportionate, of the run")] = "exists",
    between: Annotated[float | None, Parameter(help="spread of speakers' own values (SD)")] = None,
    within: Annotated[float | None, Parameter(help="what one clip per emotion adds to it (SD)")] = None,
    sets: Annotated[float | None, Parameter(help="spread between control sets (SD)")] = None,
    names: Annotated[
        float | None,
        Parameter(help="spread between target sets on other emotions than their own (SD); without a run as --sets"),
    ] = None,
    separation: Annotated[float | None, Parameter(help="what the untouched model has of a pair of emotions")] = None,
    emotions: Annotated[int | None, Parameter(help="emotions that have a set")] = None,
    draws: Annotated[int | None, Parameter(help="draws of control sets")] = None,
    speakers: Annotated[
        tuple[int, ...], Parameter(help="numbers of speakers, or of sessions that they share")
    ] = SPEAKERS,
    clips: Annotated[tuple[int, ...], Parameter(help="clips per speaker and emotion")] = (3, 10, 30, 100),
    wanted: Annotated[float, Parameter(help="share of studies that are to support the claim, in %")] = 80.0,
) -> int:
    """Say how many clips and speakers a claim needs to be supported."""
    import dataclasses

    from rich import box
    from rich.console import Console
    from rich.table import Table

    from emoscope.analysis.load import read_run
    from emoscope.analysis.power import MOST_CLIPS, STUDIES, Spread, needs, run_spread
    from emoscope.runs.folder import refuse_study

    if run:
        refuse_study(run)
    elif claim != "exists":
        raise ValueError(f"spreads are assumed for the claim exists alone: give a run for {claim!r}")
    spread = run_spread(read_run(run), claim) if run else Spread(**ASSUMED)
    if not run and sets is not None:
        spread = dataclasses.replace(spread, names=None)
    asked = {
        "between": between,
        "within": within,
        "sets": sets,
        "names": names,
        "whole": separation,
        "emotions": emotions,
        "draws": draws,
    }
    given: dict[str, Any] = {name: value for name, value in asked.items() if value is not None}
    if given:
        named = ", ".join("separation" if name == "whole" else name for name in given)
        spread = dataclasses.replace(spread, **given, source=f"{spread.source}; {named} as given")
    console = Console()
    console.print(
        f"Assumptions: a loss of {loss:g} %, which is {spread.whole * loss / 100:.3g} {spread.unit}; speakers' own values spread "
        f"by {spread.between:.3g}, one clip per emotion adds {spread.within:.3g}, control sets differ by {spread.sets:.3g}, "
        f"target sets on emotions other than their own by {spread.sets if spread.names is None else spread.names:.3g} "
        f"(standard deviations in {spread.unit}; {spread.source}); {spread.emotions} emotions, {spread.draws} draws of control "
        f"sets; speakers with {'equally many clips' if max(spread.sizes) - min(spread.sizes) < 1e-9 else 'as unequal numbers of clips as there'}.",
        highlight=False,
    )
    if spread.estimate is not None:
        share = -100 * spread.estimate / spread.whole
        console.print(
            f"What was found there is {spread.estimate:+.3g} {spread.unit}, a loss of {share:.3g} %.", highlight=False
        )
    title = f"The fewest clips with which {wanted:g} % of studies support the claim {claim}"
    heads = "speakers", "clips per speaker and emotion", "clips in all", *(f"power with {n}" for n in clips)
    table = Table(*heads, title=title, title_justify="left", box=box.SIMPLE_HEAD)
    for need in needs(loss, spread, speakers, clips, wanted):
        enough = (str(need.clips), f"{need.clips * need.speakers * spread.emotions:,}") if need.clips else ("none", "")
        table.add_row(str(need.speakers), *enough, *(f"{need.power[n]:.0f} %" for n in clips))
    console.print(table)
    none = f"none: {MOST_CLIPS:,} clips are not enough, more speakers are needed."
    console.print(f"{STUDIES:,} simulated studies for each number. {none}", style="dim", highlight=False)
    return 0


def untrained(
    run: Annotated[Path, Parameter(help="a finished run folder, or that of one part of a study")],
    *,
    seeds: Annotated[int, Parameter(help="how many models: seeds 0, 1, 2 and so on")] = 20,
    weights: Annotated[Literal["all", "decoder"], Parameter(help="which weights are random")] = "decoder",
    log: Shown = "bars",
) -> int:
    """Ask a finished run's study again on models with random weights: its declared claims should fail on them."""
    from emoscope.chapters.controls import say_untrained
    from emoscope.experiments.untrained import run_untrained
    from emoscope.runs import Log

    if seeds < 1:
        raise ValueError(f"--seeds {seeds}: give at least 1")
    with contextlib.closing(Log(log)) as progress:
        table = run_untrained(run, weights, range(seeds), progress)
    for sentence in say_untrained(table):
        print(sentence)
    print(f"Table: {(run / 'untrained.parquet').resolve()}. To show it on the page: emoscope report {run}")
    return 0


def oracle(
    run: Annotated[Path, Parameter(help="a finished run folder, or that of one part of a study")],
    *,
    best: Annotated[int, Parameter(help="neurons of every selector, emotion and fold that are asked about")] = 100,
    sample: Annotated[int, Parameter(help="neurons that are drawn from all of the decoder")] = 200,
    clips: Annotated[int, Parameter(help="clips of each emotion, at most")] = 100,
    selectors: Annotated[tuple[str, ...], Parameter(help="whose neurons; all by default")] = (),
    dry_run: Annotated[bool, Parameter(help="only say how many answers it takes")] = False,
    log: Shown = "bars",
) -> int:
    """Switch off and patch neurons of a finished run one by one, and say which selector foretells what they do."""
    from emoscope.chapters.oracle import say_oracle
    from emoscope.experiments.oracle import Wanted, run_oracle, show_plan
    from emoscope.runs import Log

    wanted = Wanted(best, sample, clips, selectors)
    if dry_run:
        show_plan(run, wanted)
        return 0
    with contextlib.closing(Log(log)) as progress:
        study = run_oracle(run, wanted, progress)
    for sentence in say_oracle(study):
        print(sentence)
    print(f"Table: {(run / 'oracle.parquet').resolve()}. To show it on the page: emoscope report {run}")
    return 0


model_app = App(name="model", help="Look at models.")


@model_app.command(name="check")
def model_check(
    model: Annotated[str, Parameter(help="tiny, a hub name or a checkpoint folder")] = "tiny",
    *,
    clip: Annotated[Path | None, Parameter(help="a sound file to check with; an artificial sound by default")] = None,
    dtype: Annotated[str, Parameter(help="auto, float32, bfloat16 or float16")] = "auto",
    device: Annotated[str, Parameter(help="auto, cpu, cuda")] = "auto",
    side: Annotated[
        tuple[str, ...], Parameter(help="a further checkpoint that the model needs, such as audio_tokenizer=FOLDER")
    ] = (),
    revision: Annotated[str | None, Parameter(help="branch, tag or commit on the hub")] = None,
    attention: Annotated[str, Parameter(help="attention implementation of transformers")] = "sdpa",
    device_map: Annotated[
        str | None, Parameter(help="auto spreads the layers over all GPUs (needs accelerate)")
    ] = None,
    quantise: Annotated[str | None, Parameter(help="8bit or 4bit (needs bitsandbytes)")] = None,
) -> int:
    """Prove that a model's neurons are found, hooked and changed as they should be."""
    from rich.console import Console
    from rich.table import Table

    from emoscope.models.lookup import look_up

    sides = _sides(side)
    look_up(model, sides, revision)  # what a look at its folder shows is said before torch is imported
    from emoscope.models.check import check_model
    from emoscope.models.registry import load_model

    loaded = load_model(model, dtype, device, revision, attention, side=sides, device_map=device_map, quantise=quantise)
    print(loaded)
    table = Table("proof", "status", "measured", "allowed", "note")
    proofs = check_model(loaded, clip)
    colours = {"passed": "green", "failed": "red", "not run": "yellow"}
    for proof in proofs:
        shown = ["" if value is None else f"{value:.3g}" for value in (proof.measured, proof.tolerance)]
        table.add_row(proof.name, f"[{colours[proof.status]}]{proof.status}[/]", *shown, proof.note or "")
    Console(width=None if sys.stdout.isatty() else 160).print(table)
    return 0 if all(proof.status == "passed" for proof in proofs) else 4


def _sides(given: tuple[str, ...]) -> dict[str, str]:
    """Name -> folder or hub name, from texts such as ``audio_tokenizer=FOLDER``."""
    named = {name: place for name, _, place in (text.partition("=") for text in given)}
    for text in given:
        if not all(text.partition("=")):
            raise ValueError(f"--side {text!r} is not understood: give --side audio_tokenizer=FOLDER")
    return named


@model_app.command(name="fetch")
def model_fetch(
    model: Annotated[str, Parameter(help="a name on the hub, such as nvidia/audio-flamingo-3-hf")],
    *,
    revision: Annotated[
        str | None, Parameter(help="branch, tag or commit; the main branch as it is now by default")
    ] = None,
    to: Annotated[
        Path | None, Parameter(help="folder that gets a folder for each checkpoint; the hub's cache by default")
    ] = None,
) -> int:
    """Bring a model and all that it needs onto this machine, for machines that have no network."""
    from emoscope.models.lookup import fetch_model

    found = fetch_model(model, revision, to)
    for fetched in (found, *found.side.values()):
        print(f"{fetched.name}: {fetched.folder}\n  commit {fetched.commit}, {fetched.bytes / 1e9:.3g} GB")
    print(f"In the study:\n\n{found.study()}\n")
    return 0


@model_app.command(name="list")
def model_list() -> int:
    """List the model families that are known."""
    from emoscope.models.families import STATUS, known

    families = known()
    width = max(map(len, families))
    for family, about in sorted(families.items()):
        revision = f", revision {about.released_revision}" if about.released_revision else ""
        sizes = about.released.items() if family == about.model_type else ()
        released = [f"{name} ({layers} x {neurons}{revision})" for name, (layers, neurons) in sizes]
        print(f"{family:<{width}}  {', '.join(released)}".rstrip())
    print(
        f"All: {STATUS}. In brackets: decoder layers x neurons, as released; nothing was looked up on the hub.\n"
        "Other models: docs/add-a-model.md."
    )
    return 0
