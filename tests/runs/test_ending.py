from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest
import torch

from emoscope.corpora import open_corpus
from emoscope.models.values import ProofFailed
from emoscope.neurons.samples import NotIdentifiable
from emoscope.runs import RunFolder, Unit
from emoscope.runs.ending import EXIT_CODES, ending


def error_of(action) -> BaseException:
    try:
        action()
    except BaseException as error:
        return error
    raise AssertionError("nothing was raised")


def test_a_mistake_that_the_package_names_is_the_users() -> None:
    code, said = ending(error_of(lambda: open_corpus("nosuch")))
    assert (code, said[:23]) == (2, "corpus 'nosuch' is not ")


def test_an_error_of_a_library_or_of_a_computation_is_ours(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run = RunFolder(tmp_path, create=True)
    for wrong in (lambda: int("x"), lambda: {}["key"], lambda: [][3], lambda: (tmp_path / "no").read_bytes()):
        code, said = ending(error_of(wrong), run.path)
        assert code == 70
        assert "please report it with" in said
        assert "Traceback" in (tmp_path / "crash.txt").read_text()
    # the same inside the package: Unit.notes reads a card that is not there
    assert ending(error_of(lambda: Unit({"a": 1}).notes(run)), run.path)[0] == 70
    assert ending(error_of(lambda: int("x")))[0] == 70
    assert "Traceback" in capsys.readouterr().err


def test_proofs_identifiability_and_memory_have_their_own_endings() -> None:
    assert ending(ProofFailed("site exact: measured 3"))[0] == 4
    assert ending(NotIdentifiable({"anger": 3, "fear": 0}, 30))[0] == 3
    code, said = ending(torch.OutOfMemoryError("CUDA out of memory"))
    assert (code, "positions_per_batch" in said) == (2, True)


def test_a_full_disk_is_known_by_its_number_and_by_its_words(tmp_path: Path) -> None:
    full = OSError(errno.ENOSPC, "No space left on device", "x")
    words = RuntimeError("Error while serializing: I/O error: No space left on device (os error 28)")

    def wrapped() -> None:
        try:
            raise full
        except OSError as error:
            raise KeyError("further up") from error

    for error in (full, words, error_of(wrapped)):
        code, said = ending(error, RunFolder(tmp_path, create=True).path)
        assert code == 75
        assert said.startswith("the disk is full: make room; what is done is kept in")


def test_a_file_without_rights_is_named() -> None:
    code, said = ending(PermissionError(errno.EACCES, "Permission denied", "/x/y"))
    assert (code, said) == (2, "/x/y cannot be used (Permission denied): change its rights, or choose another place")


def test_the_way_on_is_the_same_command_without_fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["emoscope", "demo", "--fresh", "--out", "a b"])
    code, said = ending(KeyboardInterrupt(), RunFolder(tmp_path, create=True).path)
    assert code == 130
    assert said.endswith("(0 units), and the same command goes on from there: emoscope demo --out 'a b'")


def test_every_exit_code_is_documented() -> None:
    text = (Path(__file__).parents[2] / "docs" / "reference.md").read_text()
    section = text.split("## Exit codes")[1].split("##")[0]
    assert [code for code in EXIT_CODES if f"{code} " not in section] == []
