from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.runs import Log, RunFolder, Unit
from emoscope.runs.folder import check_unit, digest

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=4), plain, max_size=4))
def test_a_unit_is_named_by_its_content_whatever_the_order_of_keys(key: dict[str, object]) -> None:
    turned = dict(reversed(list(key.items())))
    assert Unit(key).id == Unit(turned).id
    assert Unit({**key, "further": 1}).id != Unit(key).id


def test_a_unit_counts_as_done_only_when_its_card_is_there(tmp_path: Path) -> None:
    run = RunFolder(tmp_path / "run", create=True)
    unit = Unit({"condition": "baseline"})
    run.write_table(f"answers/{unit.id}", pl.DataFrame({"item": [1]}))
    assert not unit.done(run)
    unit.finish(run, pl.DataFrame({"item": [1, 2]}), {"duration_s": 1.5})
    assert unit.done(run)
    assert unit.notes(run) == {"duration_s": 1.5}
    assert check_unit(run, unit.id) is None


def test_answers_that_were_changed_afterwards_are_noticed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, create=True)
    unit = Unit({"a": 1})
    unit.finish(run, pl.DataFrame({"item": [1]}))
    run.write_table(f"answers/{unit.id}", pl.DataFrame({"item": [7]}))
    assert "was changed" in str(check_unit(run, unit.id))


def test_a_unit_whose_answers_were_damaged_is_not_done(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, create=True)
    unit = Unit({"a": 1})
    unit.finish(run, pl.DataFrame({"item": [1]}))
    answers = run / "answers" / f"{unit.id}.parquet"
    answers.write_bytes(answers.read_bytes()[:-1])
    assert not unit.done(run)
    answers.unlink()
    assert not unit.done(run)


def test_what_a_killed_process_left_half_written_is_removed(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, create=True)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    dead, alive = (run / "answers" / f".a.parquet.partial{number}" for number in (ended.pid, os.getpid()))
    dead.touch(), alive.touch()
    RunFolder(tmp_path, create=True)
    assert (dead.exists(), alive.exists()) == (False, True)


def test_equal_tables_have_equal_bytes(tmp_path: Path) -> None:
    run = RunFolder(tmp_path, create=True)
    table = pl.DataFrame({"item": [1, 2], "logp": [[-1.0, -2.0], [-0.5, None]]})
    first, second = run.write_table("a", table), run.write_table("b", table.clone())
    assert first.read_bytes() == second.read_bytes()
    assert not list(tmp_path.glob("*.partial*"))


def test_files_have_the_rights_that_the_umask_gives(tmp_path: Path) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    from emoscope.neurons.sets import NeuronSet
    from emoscope.runs.folder import replacing

    before = os.umask(0o027)
    try:
        with replacing(tmp_path / "inputs.safetensors") as partial:
            save_file({"wave": np.zeros(2)}, partial)
        RunFolder(tmp_path).write_json("card.json", {})
        NeuronSet("anger", np.array([1]), 2, 4).save(tmp_path / "set.safetensors")
    finally:
        os.umask(before)
    rights = {path.name: oct(path.stat().st_mode & 0o777) for path in tmp_path.iterdir()}
    assert rights == dict.fromkeys(("inputs.safetensors", "card.json", "set.safetensors"), "0o640")


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(PermissionError, match="file"):
        RunFolder(tmp_path / "file" / "run", create=True)
    with pytest.raises(FileNotFoundError, match="not a run folder"):
        RunFolder(tmp_path / "nowhere")


def test_progress_is_written_as_json_lines(tmp_path: Path) -> None:
    log = Log("quiet", tmp_path / "log.jsonl")
    with log.stage("listening", 3):
        log.step()
        log.step(2)
    log.close()
    events = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == ["stage", "progress", "progress", "stage done"]
    assert events[-1]["done"] == events[-1]["total"] == 3
    assert log.seconds["listening"] >= 0


def test_in_a_notebook_progress_is_one_line_of_plain_text_a_stage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # rich knows a notebook by its shell
    shell = type("ZMQInteractiveShell", (), {})
    monkeypatch.setattr("builtins.get_ipython", shell, raising=False)
    log = Log("bars")
    with log.stage("listening", 2, "clips"):
        log.step()
        log.step()
    log.say("3 clips are left out")
    with pytest.raises(KeyboardInterrupt), log.stage("intervening", 4):
        raise KeyboardInterrupt
    said = capsys.readouterr()
    lines = [line.split("\r")[-1].rstrip() for line in said.out.strip("\n").split("\n")]
    assert lines == ["listening: 2 of 2 clips in 0 s", "3 clips are left out", "intervening: 0 of 4 (stopped)"]
    assert said.err == ""


def test_an_unknown_kind_of_log_is_refused() -> None:
    with pytest.raises(ValueError, match="loud"):
        Log("loud")


def test_digest_differs_for_differing_numbers() -> None:
    assert digest([1, 2]) != digest([2, 1])
