"""What a run says in a terminal and as a printed value: what limits it first, the blind part beside the gap."""

import json
import re

import pytest

from emoscope.analysis.tables import write_tables
from emoscope.experiments.result import Result
from emoscope.experiments.summary import print_result
from emoscope.runs import RunFolder
from tests.analysis.simulated import write_simulation


def finished(folder, **more):
    """A simulated run as far as a terminal reads it."""
    write_simulation(folder, "bias", clips=4, matched=1, **more)
    manifest = json.loads((folder / "manifest.json").read_text())
    headline = {"selector": "cas", "budget": 0.05, "scope": "all", "alpha": 0.5}
    (folder / "manifest.json").write_text(json.dumps(manifest | {"headline": headline, "emotions": ["anger"]}))
    write_tables(folder)
    return RunFolder(folder)


@pytest.fixture(scope="module")
def lost(tmp_path_factory):
    """A model at chance, and nobody knows who spoke."""
    return finished(tmp_path_factory.mktemp("lost"), speakers=None, bonus=0.0, recordings=6)


def as_one_line(text):
    return re.sub(r"\s+", " ", text).strip()


def test_chance_and_unknown_voices_come_before_any_number(lost, capsys):
    print_result(lost)
    printed = as_one_line(capsys.readouterr().out)
    before = re.split(r"\d", printed)[0]
    assert before.startswith("The untouched model is not clearly above chance: ")
    assert " Speakers unknown: the same voice may be on both sides." in before
    assert before.endswith("no conclusion is drawn. UAR ")
    assert "Name the speakers" in printed
    printed = repr(Result.of(lost))
    assert printed.startswith("The untouched model is not clearly above chance: ")
    assert re.split(r"\d", printed)[0].endswith("Result(cas: gap -")


def test_the_blind_part_stands_beside_the_gap(tmp_path, capsys):
    run = finished(tmp_path, speakers=6)
    result = Result.of(run)
    print_result(run)
    printed = as_one_line(capsys.readouterr().out)
    assert printed.startswith("UAR")
    assert result.blind.sentence() in printed
    part = 1.5 * result.measure("excess_pull_overall")["estimate"]
    assert part < -5
    assert repr(result).startswith("Result(cas: gap -")
    assert f"excess gap {result.excess_gap['estimate']:+.1f} points" in repr(result)
    assert f"), blind part {part:.1f}; in ".replace("-", "−") in repr(result).replace("-", "−")
