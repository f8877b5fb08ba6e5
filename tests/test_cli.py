"""The program as a user runs it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import polars as pl
import pytest

import emoscope as es
from emoscope.corpora import polish_folder
from emoscope.runs import RunFolder
from tests.helpers.packs import unpacked
from tests.helpers.program import PROGRAM, emoscope, inside, undrawn
from tests.helpers.small_study import SMALL

DEMO = ("demo", "--pilot", "4", "--log", "json")

CTRL_C, TERM = signal.SIGINT, signal.SIGTERM

WHILE_IT_WORKS = (CTRL_C, 130, "progress", "intervening")
"""Signal, exit code, and the event and its stage at which the signal is sent."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A demo that was stopped on its way, and went on."""
    folder = tmp_path_factory.mktemp("demo")
    stop_cleanly(folder, *WHILE_IT_WORKS)
    return folder, emoscope(*DEMO, cwd=folder)


@pytest.mark.journey
def test_the_demo_ends_with_a_report(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, done = demo
    assert done.returncode == 0, done.stderr
    run = folder / "runs" / "demo-pilot4"
    manifest = json.loads((run / "manifest.json").read_text())
    assert manifest["counts"]["used"] == 12
    assert (
        manifest["counts"]["clips"]
        == sum(manifest["counts"][f] for f in ("used", "not needed", "excluded", "quarantined"))
        == 450
    )
    assert manifest["timing"]["peak_memory_gb"] < 3
    assert "<html" in (run / "report.html").read_text()
    effects = pl.read_parquet(run / "tables" / "effects.parquet")
    assert {"self", "cross", "gap", "excess_gap", "pull"} <= set(effects["measure"])
    assert set(effects["control"]) == {"target", "matched", "random", "shuffled", "orthogonal"}


def contents(run: Path) -> dict[str, bytes]:
    """Everything that a run leaves and that holds no time."""
    files = [
        path for name in ("answers", "units", "sets", "activity.zarr", "tables") for path in (run / name).rglob("*")
    ]
    return {str(f.relative_to(run)): f.read_bytes() for f in (*files, *run.glob("*.parquet")) if f.is_file()}


def stopped(number: signal.Signals, event: str, stage: str, folder: Path) -> tuple[int, str]:
    """Start the demo, send a signal at an event, and give exit code and standard error."""
    process = subprocess.Popen(
        [*PROGRAM, *DEMO], cwd=folder, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, env={**os.environ, "COLUMNS": "200"},
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    assert process.stdout
    for line in process.stdout:
        seen = json.loads(line)
        if (seen["event"], seen.get("stage")) == (event, stage):
            process.send_signal(number)
            process.send_signal(number)  # an impatient user, or a scheduler that signals the whole group
            break
    else:
        raise AssertionError(f"the run ended before {event} {stage}")
    _, said = process.communicate(timeout=600)
    return process.returncode, said


def stop_cleanly(folder: Path, number: signal.Signals, code: int, event: str, stage: str) -> None:
    """Stop the demo at an event: it says how to go on, and leaves nothing half-written."""
    ended, said = stopped(number, event, stage, folder)
    assert ended == code, (stage, said)
    name = {130: "Ctrl-C", 75: "SIGTERM"}[code]
    last = said.splitlines()[-1]
    assert last.startswith(f"emoscope: stopped by {name}; what is done is kept in runs/demo-pilot4 ("), stage
    assert last.endswith("goes on from there: emoscope demo --pilot 4 --log json"), stage
    assert "Traceback" not in said
    run = folder / "runs" / "demo-pilot4"
    assert not list(run.rglob("*partial*")), stage
    for table in run.rglob("*.parquet"):
        pl.read_parquet(table)


@pytest.mark.long
@pytest.mark.journey
def test_a_run_that_was_stopped_often_ends_with_the_bytes_of_one_that_was_not(
    demo: tuple[Path, subprocess.CompletedProcess[str]], tmp_path: Path
) -> None:
    for name in ("undisturbed", "stopped"):
        (tmp_path / name).mkdir()
    for moment in (
        (CTRL_C, 130, "stage", "loading model"), (TERM, 75, "stage", "listening"), (CTRL_C, 130, "stage done", "listening"),  # selecting
        (TERM, 75, "progress", "intervening"), (CTRL_C, 130, "stage", "writing tables and report"),
    ):  # fmt: skip
        stop_cleanly(tmp_path / "stopped", *moment)
    for name in ("stopped", "undisturbed"):
        assert emoscope(*DEMO, cwd=tmp_path / name).returncode == 0
    runs = [
        contents(folder / "runs" / "demo-pilot4")
        for folder in (tmp_path / "undisturbed", tmp_path / "stopped", demo[0])
    ]
    assert runs[0] == runs[1] == runs[2]


def test_a_command_without_a_run_is_stopped_with_one_sentence(tmp_path: Path) -> None:
    begins = PROGRAM[-1].replace("main()", "print('begins', flush=True); main()")
    process = subprocess.Popen(
        [*PROGRAM[:-1], begins, "corpus", "check", "polish"], cwd=tmp_path, text=True,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout
    process.stdout.readline()
    time.sleep(0.3)
    process.send_signal(signal.SIGTERM)
    _, said = process.communicate(timeout=600)
    if process.returncode:  # a fast machine may have been done
        assert process.returncode == 75
        assert said.splitlines()[-1].endswith("starts again: emoscope corpus check polish")


@pytest.mark.parametrize("arguments", [("corpus", "list"), ("--help",), ("power", "--speakers", "5")], ids=" ".join)
def test_output_that_nobody_reads_on_ends_quietly(arguments: tuple[str, ...]) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    # as a module, so that this way of starting is tried as well
    module = [sys.executable, "-m", "emoscope.cli" if arguments == ("--help",) else "emoscope"]
    done = subprocess.run([*module, *arguments], stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, "")


def test_the_help_says_once_what_the_exit_codes_mean(capsys: pytest.CaptureFixture[str]) -> None:
    from emoscope.cli import app

    for name in ("", *(name for name in app if not name.startswith("-"))):
        (app[name] if name else app).help_print()
        said = " ".join(capsys.readouterr().out.split())
        assert said.count("Exit codes") == (name == ""), name
        assert (
            "75 stopped and resumable (SIGTERM, --stop-after, a full disk, other shards missing, or a folder in use), 130"
            in said
        ) == (name == "")


@pytest.mark.journey
def test_every_line_of_the_json_log_is_an_event_with_its_time(
    demo: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    events = [json.loads(line) for line in demo[1].stdout.splitlines()]
    stages = [event["stage"] for event in events if event["event"] == "stage"]
    assert stages[:5] == ["reading files", "loading model", "listening", "attributing", "intervening"]
    assert stages[-1] == "writing tables and report"
    assert events[-1]["event"] == "done"
    assert [event["t"] for event in events] == sorted(event["t"] for event in events)


HEAVY = ("torch", "transformers", "scipy", "zarr", "altair", "vl_convert")
"""What neither a finished run nor a word of help needs: each takes long to import."""


def imported(folder: Path, *arguments: str) -> str:
    """Which of the heavy libraries the program imports."""
    code = (
        "import sys; from emoscope.cli import app\n"
        "app(sys.argv[1:], result_action='return_value', exit_on_error=False)\n"
        f"print([name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], capture_output=True, text=True, cwd=folder, check=True
    )
    return done.stdout.splitlines()[-1]


@pytest.mark.long
@pytest.mark.journey
def test_a_run_that_goes_on_to_the_same_answers_imports_nothing_that_draws(tmp_path: Path) -> None:
    (tmp_path / "study.toml").write_text('name = "small"\n[[corpora]]\nwhere = { take = [3] }\n' + SMALL)
    command = ("run", "study.toml", "--log", "quiet")
    assert emoscope(*command, cwd=tmp_path).returncode == 0
    run = tmp_path / "runs" / "small"
    page = (run / "report.html").read_bytes()
    asked = unpacked(RunFolder(run)).read_table("units").filter(stage="intervene")["unit"]
    (run / f"units/{asked[0]}.json").unlink()
    assert imported(tmp_path, *command) == "['torch', 'transformers', 'scipy', 'zarr']"
    assert (run / "report.html").read_bytes() == page


@pytest.mark.journey
def test_a_finished_run_is_shown_again_and_its_report_rebuilt(
    demo: tuple[Path, subprocess.CompletedProcess[str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = demo
    again = inside("demo", "--pilot", "4", cwd=folder)
    assert again.returncode == 0
    assert "nothing to run" in again.stderr
    assert "Verdict:" in again.stdout
    report = folder / "runs" / "demo-pilot4" / "report.html"
    report.unlink()
    undrawn(monkeypatch)
    assert inside("report", "runs/demo-pilot4", cwd=folder).returncode == 0
    assert report.is_file()


@pytest.mark.journey
@pytest.mark.parametrize("arguments", [("--help",), DEMO], ids=["help", "finished run"])
def test_what_needs_no_work_imports_little(
    arguments: tuple[str, ...], demo: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    assert imported(demo[0], *arguments) == "[]"


@pytest.mark.journey
def test_select_finds_other_sets_without_the_model(demo: tuple[Path, subprocess.CompletedProcess[str]]) -> None:
    folder, _ = demo
    done = inside("select", "runs/demo-pilot4", "--selector", "lap", "--budget", "0.01", "--out", "sets", cwd=folder)
    assert done.returncode == 0, done.stderr
    assert "20 of 20 neurons" in done.stdout
    files = list((folder / "sets").rglob("all.safetensors"))
    assert len(files) == 1
    clip = polish_folder() / "m1.a_nie_3.flac"
    asked = inside("ask", clip, "--options", "anger,fear,neutral", "--steer", files[0], "--emotion", "fear", cwd=folder)
    assert asked.returncode == 0, asked.stderr
    assert {line.split()[0] for line in asked.stdout.splitlines()} == {"anger", "fear", "neutral"}
    wrong = inside("ask", clip, "--steer", files[0], "--emotion", "joy", cwd=folder)
    assert wrong.returncode == 2
    assert "holds sets of anger, fear, neutral, none of 'joy'" in wrong.stderr


def test_a_clip_is_asked_with_neurons_at_their_mean(tmp_path: Path) -> None:
    import numpy as np

    from emoscope.neurons.sets import NeuronSet

    neurons = np.arange(0, 2048, 4)
    NeuronSet("fear", neurons, 4, 512, mean_product=np.full(512, 0.25)).save(tmp_path / "with.safetensors")
    NeuronSet("fear", neurons, 4, 512).save(tmp_path / "without.safetensors")
    clip = polish_folder() / "m1.a_nie_3.flac"

    def asked(file: str, to: str) -> subprocess.CompletedProcess[str]:
        return inside("ask", clip, "--deactivate", file, "--emotion", "fear", "--to", to, cwd=tmp_path)

    mean, lacking = asked("with.safetensors", "mean"), asked("without.safetensors", "mean")
    assert mean.returncode == 0, mean.stderr
    shares = {line.split()[0]: float(line.split()[1].rstrip("%")) for line in mean.stdout.splitlines()}
    model = es.load_model("tiny")
    one, other = (NeuronSet.load(tmp_path / f"{name}.safetensors") for name in ("with", "without"))
    at_mean, at_zero, without = (
        es.ask(model, clip, under=es.deactivate(one, to="mean")),
        es.ask(model, clip, under=es.deactivate(one)), es.ask(model, clip, under=es.deactivate(other)),
    )  # fmt: skip
    assert shares == pytest.approx({name: 100 * share for name, share in at_mean.items()}, abs=0.051)
    assert at_mean != pytest.approx(at_zero, abs=0.01)
    assert at_zero == without
    assert lacking.returncode == 2
    assert "needs the mean gated product of each of the 512 neurons" in lacking.stderr


def test_a_new_study_can_be_run_dry(tmp_path: Path) -> None:
    assert emoscope("study", "new", "mine.toml", cwd=tmp_path).returncode == 0
    assert emoscope("study", "new", "mine.toml", cwd=tmp_path).returncode == 2
    done = emoscope("run", "mine.toml", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "270 may be asked" in done.stdout
    assert "it gets no set" not in done.stdout
    assert "trained on by this model" in done.stdout
    assert not (tmp_path / "runs").exists()


def test_a_study_of_the_paper_is_written_under_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from emoscope.cli import study_new

    monkeypatch.chdir(tmp_path)
    assert study_new(paper="kimi-meld") == 0
    assert (tmp_path / "kimi-meld.toml").read_text().splitlines()[2] == 'name = "paper-kimi-meld"'
    with pytest.raises(ValueError, match="there already"):
        study_new(paper="kimi-meld")
    with pytest.raises(ValueError, match="--model with --paper"):
        study_new(paper="kimi-meld", model="tiny", force=True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("run", "nowhere.toml"), "emoscope study new"),
        (("run", "typo.toml"), "did you mean `selector`"),
        (("report", "nowhere"), "not a run folder"),
        (("corpus", "check", "polnish"), "polish"),
        (("corpus", "check", "iemocap"), "iemocap"),
        (("model", "check", "nowhere"), "nowhere"),
        (("ask", "nowhere.wav"), "file not found"),
        (
            ("ask", "nowhere.wav", "--emotion", "fear"),
            "--emotion fear changes nothing by itself: give --deactivate or --steer",
        ),
    ],
)
def test_a_mistake_ends_with_one_sentence_and_code_2(arguments: tuple[str, ...], said: str, tmp_path: Path) -> None:
    (tmp_path / "typo.toml").write_text("[headline]\nselctor = 'cas'\n")
    done = emoscope(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr


def test_corpora_are_listed_and_checked(tmp_path: Path) -> None:
    listed = emoscope("corpus", "list", cwd=tmp_path)
    assert all(name in listed.stdout for name in ("polish", "iemocap", "ravdess", "emogator", "crema-d", "emodb"))
    checked = emoscope("corpus", "check", "polish", "--json", cwd=tmp_path)
    summary = json.loads(checked.stdout)
    assert (summary["clips"], summary["used"]) == (450, 450)
    assert set(summary["by_emotion"].values()) == {150}
    assert list(summary) == [
        "clips", "used", "excluded_by_label", "excluded_otherwise", "quarantined", "by_emotion", "by_speaker", "by_split",
        "by_language", "reasons", "durations", "sample_rates", "duplicates", "expected", "unusable",
        "by_session", "usual", "told", "longer", "cannot_cross_fit",
    ]  # fmt: skip


def test_the_exit_code_says_whether_a_corpus_can_be_used(tmp_path: Path) -> None:
    for name, emotions in (("two", ("anger", "sadness")), ("one", ("anger", "irony"))):
        for emotion in emotions:
            (tmp_path / name / emotion).mkdir(parents=True)
            recording = polish_folder() / f"m1.{emotion[0] if emotion != 'irony' else 'n'}_nie_1.flac"
            (tmp_path / name / emotion / "1.flac").write_bytes(recording.read_bytes())
    good = emoscope("corpus", "check", "two", "--html", "page.html", cwd=tmp_path)
    assert (good.returncode, "Can be used." in good.stdout) == (0, True), good.stdout + good.stderr
    assert "<svg" in (tmp_path / "page.html").read_text()
    assert good.stdout.rstrip().endswith("Next: emoscope study new --corpus two")
    bad = emoscope("corpus", "check", "one", "--json", cwd=tmp_path)
    assert bad.returncode == 2
    assert json.loads(bad.stdout)["excluded_by_label"] == 1
    nowhere = emoscope("corpus", "check", "two", "--html", "no/page.html", cwd=tmp_path)
    assert (nowhere.returncode, "does not exist" in nowhere.stderr) == (2, True)


def test_a_model_that_knows_too_few_emotions_ends_with_code_3(tmp_path: Path) -> None:
    study = '[[corpora]]\nid = "polish"\nwhere = { word = ["nie"], take = [3] }\n[identify]\nminimum = 30\n'
    (tmp_path / "few.toml").write_text(study)
    done = inside("run", "few.toml", "--log", "quiet", cwd=tmp_path)
    assert done.returncode == 3, done.stderr
    # first what the model can do, then why it ends, then what helps, then where to look
    said = done.stderr.splitlines()[-1]
    told = [
        "the model tells the emotions apart: UAR ",
        "fewer than two emotions have 30",
        "lower identify.minimum (",
        "What was heard: ",
    ]
    places = [said.index(part) for part in told]
    assert places == sorted(places)
    page = Path(said.split("What was heard: ")[1])
    assert "<svg" in page.read_text()
    manifest = json.loads((page.parent / "manifest.json").read_text())
    assert set(manifest["identifiable"]) == {"anger", "fear", "neutral"}
    assert all("not identifiable" in why for why in manifest["identifiable"].values())


def test_the_embedded_model_passes_its_check(tmp_path: Path) -> None:
    done = inside("model", "check", "tiny", "--clip", polish_folder() / "m1.a_nie_3.flac", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "failed" not in done.stdout
    assert "not run" not in done.stdout
