"""The command line: thin, and quick to say what it can do (heavy modules are imported where they are used)."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

from cyclopts import App, CycloptsError, Parameter

from emoscope import __version__
from emoscope.commands import (
    compare,
    judge,
    model_app,
    oracle,
    power,
    preregister,
    refuse_without_folder,
    run_and_print,
    untrained,
)
from emoscope.runs.ending import EXIT_CODES, INPUT, end, handle_signals, leave, nobody_reads

if TYPE_CHECKING:
    from emoscope.neurons.sets import NeuronSet

codes = (f"{code} {told}" for code, told in EXIT_CODES.items())
app = App(
    name="emoscope",
    help="Find the neurons that carry emotion inside large audio-language models, and test what they do.",
    version=__version__,
    help_format="plaintext",
    help_epilogue=f"Exit codes: {', '.join(codes)}. A stopped run goes on with the same command.",
)
study_app = App(name="study", help="Write study files.")
corpus_app = App(name="corpus", help="Look at corpora.")
benchmark_app = App(name="benchmark", help="Score methods against models in which the answer is known.")
for sub in (study_app, corpus_app, model_app, benchmark_app):
    app.command(sub)
app.command(compare)
app.command(judge)
app.command(oracle)
app.command(power)
app.command(preregister)
app.command(untrained)

LogKind = Literal["bars", "json", "quiet"]
Part = Annotated[
    str | None,
    Parameter(help="do this share of the work, such as 3/16; a call without it merges and asks what waits for others"),
]
Time = Annotated[str | None, Parameter(help="stop after so long, such as 3h50m, with exit code 75")]
Show = Annotated[LogKind, Parameter(name="--log", help="progress: bars, json (one object a line) or quiet")]


@app.command
def demo(
    *,
    out: Annotated[Path | None, Parameter(help="folder of the run; runs/demo by default")] = None,
    pilot: Annotated[int | None, Parameter(help="ask only this many clips per emotion")] = None,
    fresh: Annotated[bool, Parameter(help="delete an earlier run in that folder first")] = False,
    shard: Part = None,
    stop_after: Time = None,
    log: Show = "bars",
) -> int:
    """Run the main job on the embedded model and voices: listen, select, deactivate, steer, report."""
    from emoscope.experiments.study import read_study

    study = read_study(Path(__file__).parent / "data" / "demo.toml")
    return run_and_print(study, out, pilot, dry_run=False, fresh=fresh, shard=shard, stop=stop_after, log=log)


@app.command
def run(
    study: Annotated[Path, Parameter(help="a study file (`emoscope study new` writes one)")],
    *,
    out: Annotated[Path | None, Parameter(help="folder of the run; runs/<name> by default")] = None,
    dry_run: Annotated[bool, Parameter(help="print the conditions and their cost, run nothing")] = False,
    pilot: Annotated[int | None, Parameter(help="ask only this many clips per emotion")] = None,
    fresh: Annotated[bool, Parameter(help="delete an earlier run in that folder first")] = False,
    registration: Annotated[
        Path | None, Parameter(help="what was preregistered; <study>.registration.json, if it is there, by default")
    ] = None,
    shard: Part = None,
    stop_after: Time = None,
    log: Show = "bars",
) -> int:
    """Run a study, or what is left of it, and write its report."""
    from emoscope.experiments.study import read_study

    return run_and_print(read_study(study), out, pilot, dry_run, fresh, shard, stop_after, log, study, registration)


@app.command
def select(
    run: Annotated[Path, Parameter(help="a run folder that has been listened to")],
    *,
    selector: Annotated[str, Parameter(help="lap, lape, mad, cas or another selector")] = "cas",
    budget: Annotated[
        float | None, Parameter(help="share of all neurons per emotion; the run's own by default")
    ] = None,
    scope: Annotated[
        str | None, Parameter(help="positions that count, joined by +, or all; the run's own by default")
    ] = None,
    out: Annotated[Path | None, Parameter(help="folder for the sets; <run>/sets by default")] = None,
) -> int:
    """Find neuron sets from a run's stored activity, without the model."""
    from emoscope.experiments.stages import reselect

    found = reselect(run, selector, budget, scope, out).frame
    for row in found.filter(control="target", fold="all").iter_rows(named=True):
        size = f"{row['size_reached']} of {row['size_wanted']} neurons, {row['n']} clips per emotion"
        print(f"{row['set']:<32} {row['emotion']:<12} {size}, {row['tied_at_cut']} tied at the cut")
    return 0


@app.command
def report(run: Annotated[Path, Parameter(help="a run folder")]) -> int:
    """Build tables and report.html from a run folder, without the model."""
    from emoscope.chapters.pages import build_report
    from emoscope.chapters.results import write_study_tables, write_tables
    from emoscope.report.theme import KEPT, Drawing
    from emoscope.runs import RunFolder
    from emoscope.runs.folder import part_folders

    parts = part_folders(RunFolder(run).path)
    if not parts and not (run / "items.parquet").is_file():
        raise ValueError(f"{run} is not a run folder (no items.parquet): give the folder that `emoscope run` printed")
    with Drawing(ahead=not (run / KEPT).is_file()) as drawing:
        for part in parts:
            found = write_tables(part)
            if (part / "report.html").is_file():
                build_report(found, drawing=drawing)
        shown = write_study_tables(run) if parts else write_tables(run)
        page = build_report(shown, drawing=drawing)
    for note in shown.notes:
        print(note)
    print(f"Report: {page.resolve()}")
    return 0


@app.command
def export(
    run: Annotated[Path, Parameter(help="a finished run folder")],
    to: Annotated[Path, Parameter(help="new folder for the copy; with --answers-for-judge a file")],
    *,
    answers_for_judge: Annotated[
        bool, Parameter(help="write the headline's answers as one table that `emoscope judge` reads")
    ] = False,
) -> int:
    """Copy what the report of a run is built from, to share it: no sound, no activity, no paths of this machine."""
    from emoscope.analysis.load import export_run, read_run

    if answers_for_judge:
        from emoscope.analysis.answer_table import run_answers, write_frame
        from emoscope.runs.folder import refuse_study

        refuse_without_folder(to)
        refuse_study(run)
        table, alpha = run_answers(read_run(run))
        write_frame(table, to)
        print(f"Wrote {to}. To judge it: emoscope judge {to}{'' if alpha is None else f' --alpha {alpha:g}'}")
        return 0
    copy = export_run(run, to)
    size = sum(path.stat().st_size for path in copy.path.rglob("*") if path.is_file())
    print(f"Wrote {copy.path} ({size / 1e6:.1f} MB). To show it: emoscope report {copy.path}")
    return 0


@app.command
def ask(
    clip: Annotated[Path, Parameter(help="a sound file")],
    *,
    model: Annotated[str, Parameter(help="tiny, a hub name or a checkpoint folder")] = "tiny",
    options: Annotated[str, Parameter(help="labels to choose from, separated by commas")] = "",
    deactivate: Annotated[Path | None, Parameter(help="file of neuron sets (<run>/sets/.../all.safetensors)")] = None,
    steer: Annotated[Path | None, Parameter(help="file of neuron sets")] = None,
    emotion: Annotated[str | None, Parameter(help="whose set is deactivated or steered")] = None,
    to: Annotated[
        Literal["zero", "mean"] | None, Parameter(help="what deactivated neurons are set to; zero by default")
    ] = None,
    alpha: Annotated[float | None, Parameter(help="steering strength: gain 1 + alpha; 1 by default")] = None,
) -> int:
    """Ask a model which emotion one sound file expresses, with or without an intervention."""
    from emoscope.corpora.audio import hear

    needs = ("--to", to, "--deactivate", deactivate), ("--alpha", alpha, "--steer", steer)
    for name, value, needed, there in (*needs, ("--emotion", emotion, "--deactivate or --steer", deactivate or steer)):
        if value is not None and there is None:
            raise ValueError(f"{name} {value} changes nothing by itself: give {needed} with a file of neuron sets")
    # a file that cannot be heard is refused at once, before a model is loaded
    hear(clip)
    from emoscope.experiments.ask import ask as ask_model
    from emoscope.interventions import kinds
    from emoscope.interventions.intervention import Intervention
    from emoscope.models.registry import load_model

    under = Intervention()
    if deactivate:
        under += kinds.deactivate(_read_set(deactivate, emotion), to=to or "zero")
    if steer:
        under += kinds.steer(_read_set(steer, emotion), 1.0 if alpha is None else alpha)
    answer = ask_model(load_model(model), clip, options=_listed(options), under=under)
    for sentence in answer.told:
        print(f"note: {clip}: {sentence}", file=sys.stderr)
    for option, share in answer.items():
        print(f"{option:<12} {share:6.1%}  {'#' * round(share * 40)}")
    if answer.unreliable:
        print(f"{answer.mass} ({answer.text!r})", file=sys.stderr)
    return 0


@benchmark_app.command(name="selectors")
def benchmark_selectors(
    out: Annotated[Path, Parameter(help="folder for tables and chart; what was done there before is not done again")],
    *,
    seeds: Annotated[int, Parameter(help="how many models: seeds 0, 1, 2 and so on")] = 20,
    selector: Annotated[tuple[str, ...], Parameter(help="a selector, of a package too; all that are known")] = (),
    log: Show = "bars",
) -> int:
    """Write neurons of known effect into the embedded model, and say how well each selector finds those that matter."""
    from emoscope.experiments.benchmark import benchmark

    return benchmark(out, seeds, selector, log)


@study_app.command(name="new")
def study_new(
    path: Annotated[Path | None, Parameter(help="file to write; study.toml, or the paper study's name")] = None,
    *,
    corpus: Annotated[str | None, Parameter(help="id of a corpus (polish by default), a folder or a table")] = None,
    root: Annotated[str | None, Parameter(help="folder or table of the corpus")] = None,
    model: Annotated[str | None, Parameter(help="tiny (the default), a hub name or a checkpoint folder")] = None,
    paper: Annotated[str | None, Parameter(help="one of the paper's studies, such as qwen-iemocap")] = None,
    force: Annotated[bool, Parameter(help="replace a file that is there")] = False,
) -> int:
    """Write a study file in which every field has a comment: the usual task of a known corpus, or a study of the paper."""
    from emoscope.experiments.schema import StudyError
    from emoscope.experiments.study import paper_study, usual_study

    if paper is not None and (given := [n for n, v in (("corpus", corpus), ("root", root), ("model", model)) if v]):
        why = "the paper's studies name their model and corpora; change it in the file"
        raise StudyError(f"--{given[0]} with --paper: {why}")
    path = path or Path(f"{paper or 'study'}.toml")
    usual = path.stem, corpus or "polish", root or "", model or "tiny"
    text = usual_study(*usual) if paper is None else paper_study(paper)
    refuse_without_folder(path)
    if path.exists() and not force:
        raise StudyError(f"{path} is there already: choose another name, or give --force")
    path.write_text(text, encoding="utf-8")
    print(f"Wrote {path}. Next: emoscope run {path} --dry-run")
    return 0


@corpus_app.command(name="list")
def corpus_list() -> int:
    """List the corpora that can be read."""
    from emoscope.corpora import list_corpora

    for info in list_corpora():
        print(f"{info.id:<11} {info.title}")
        if info.licence != "unknown":
            print(f"{'':<11} {info.licence}")
    return 0


@corpus_app.command(name="check")
def corpus_check(
    corpus: Annotated[str, Parameter(help="id of a corpus, a folder or a table file")],
    *,
    root: Annotated[Path | None, Parameter(help="folder or table of the corpus")] = None,
    pattern: Annotated[str, Parameter(help='of a folder, such as "{emotion}/{speaker}_{}.wav"')] = "",
    columns: Annotated[str, Parameter(help="of a table, such as path=file,emotion=label,speaker=who")] = "",
    audio_root: Annotated[Path | None, Parameter(help="of a table: folder to which its paths refer")] = None,
    labels: Annotated[str, Parameter(help="words emoscope does not know: kl1=irony,laugh= (left out)")] = "",
    where: Annotated[tuple[str, ...], Parameter(help='filter: "speaker=1-9, 12"; may be given several times')] = (),
    merge: Annotated[
        tuple[str, ...], Parameter(help="labels taken together: happiness=happiness,excitement; several times")
    ] = (),
    emotions: Annotated[str, Parameter(help="labels that are asked, separated by commas; all by default")] = "",
    html: Annotated[Path | None, Parameter(help="also write one page with charts, which opens offline")] = None,
    export: Annotated[Path | None, Parameter(help="also write a CSV file: every file and what became of it")] = None,
    as_json: Annotated[bool, Parameter(name="--json", help="print one JSON object")] = False,
) -> int:
    """Say what a corpus holds, what can be used, and why the rest cannot; exit code 0 if a study can be run on it."""
    from emoscope.corpora import open_corpus
    from emoscope.corpora.check import SCRIPT_KEYS, print_summary, shown_progress, unusable_because
    from emoscope.corpora.registry import WITHOUT_SOUND

    if corpus in WITHOUT_SOUND:
        raise ValueError(f'{corpus} holds no recordings: a study asks it with probes.side_effects = ["text"]')
    refuse_without_folder(html, export)
    options: dict[str, object] = {"pattern": pattern, "columns": _columns(columns), "audio_root": audio_root}
    options["labels"] = _by_name("--labels", _listed(labels))
    opened = open_corpus(corpus, root, **{name: value for name, value in options.items() if value})
    # in the order of a study
    if chosen := _by_name("--where", where):
        opened = opened.where(chosen)
    if merges := {new: _listed(old) for new, old in _by_name("--merge", merge).items()}:
        opened = opened.merged(merges)
    if emotions:
        opened = opened.keep(_listed(emotions))
    if as_json:
        seen, summary = opened.looked_at()
        print(json.dumps({name: summary[name] for name in SCRIPT_KEYS}, indent=1, ensure_ascii=False))
    else:
        with shown_progress("looking at clips") as progress:
            seen, summary = opened.looked_at(progress)
        print_summary(summary)
    if export:
        seen.to_frame().write_csv(export, include_bom=True)
        _say_where("Statuses", export, as_json)
    if html:
        from emoscope.report.corpus_page import write_corpus_page

        write_corpus_page(summary, html, __version__)
        _say_where("Page", html, as_json)
    if unusable_because(summary):
        return INPUT
    if not as_json:
        from emoscope.experiments.study import next_step

        options |= {"where": chosen, "merge": merges, "emotions": _listed(emotions)}
        print(next_step(corpus, root, {**options, **({"audio_root": str(audio_root)} if audio_root else {})}))
    return 0


def _say_where(what: str, path: Path, as_json: bool) -> None:
    print(f"{what}: {path.resolve()}", file=sys.stderr if as_json else sys.stdout)


def _columns(text: str) -> dict[str, str]:
    """Read ``path=file,emotion=label``."""
    pairs = [pair.partition("=") for pair in _listed(text)]
    if wrong := [field for field, _, column in pairs if not column]:
        raise ValueError(f"--columns: {wrong[0]!r} names no column: write for example path=file,emotion=label")
    return {field.strip(): column.strip() for field, _, column in pairs}


def _by_name(option: str, given: Sequence[str]) -> dict[str, str]:
    """Read several of ``NAME=VALUE``; a name that comes twice would silently lose its first value."""
    pairs: dict[str, str] = {}
    for text in given:
        name, equals, value = map(str.strip, text.partition("="))
        if not equals or not name:
            raise ValueError(f"{option} {text!r} names no value: write {option} NAME=VALUE")
        if name in pairs:
            both = f"({pairs[name]!r} and {value!r})"
            raise ValueError(f"{option} names {name!r} twice {both}: give it once, with all values")
        pairs[name] = value
    return pairs


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _read_set(path: Path, emotion: str | None) -> NeuronSet:
    """Read one emotion's neurons from a file of sets."""
    from emoscope.neurons.sets import load_group

    group = load_group(path)
    if emotion not in group:
        holds = f"{path} holds sets of {', '.join(group)}" + (f", none of {emotion!r}" if emotion else "")
        raise ValueError(f"{holds}: name one with --emotion")
    return group[emotion]


for command in app:
    # the codes are those of all commands: said once
    if not command.startswith("-"):
        app[command].help_epilogue = ""


def main() -> None:
    """Entry point: whatever happens ends with one sentence and its exit code; only a fault of the program has a traceback."""
    handle_signals()
    try:
        result = app(result_action="return_value", exit_on_error=False)
        sys.stdout.flush()  # a reader that has gone is noticed here, and not when Python shuts down
        leave(result if isinstance(result, int) else 0)
    except CycloptsError:
        # it has printed what is wrong with the command line
        leave(INPUT)
    except SystemExit as error:
        if not nobody_reads(error):
            raise
        leave(end(error))
    except BaseException as error:
        leave(end(error))


if __name__ == "__main__":
    main()
