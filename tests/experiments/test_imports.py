"""A study names Python files that register what is its author's own; a study that a run stored runs nothing."""

import msgspec
import pytest

from emoscope.experiments.engine import run_study
from emoscope.experiments.record import finished
from emoscope.experiments.schema import Study, StudyError
from emoscope.experiments.study import imported_code, parse_study, read_study, to_toml
from emoscope.neurons import selectors
from emoscope.runs import RunFolder
from tests.helpers.small_study import SMALL

MINE = """
from emoscope.neurons.selectors import register

register("rates", lambda given: given.rate, family="frequency")
"""


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    """What a test registers is forgotten after it."""
    for name, value in vars(selectors).items():
        if isinstance(value, dict) and name.isupper():
            monkeypatch.setattr(selectors, name, dict(value))
    monkeypatch.setattr("emoscope.experiments.study._IMPORTED", {})


def write(folder, code=MINE, first='import = ["mine.py"]\n'):
    (folder / "mine.py").write_text(code)
    (folder / "study.toml").write_text(first + '[identify]\nselectors = ["cas", "rates"]\n')
    return folder / "study.toml"


def test_a_selector_of_the_studys_own_file_is_known(tmp_path):
    path = write(tmp_path)
    study = read_study(path)
    assert study.imports == (str(tmp_path / "mine.py"),)
    assert parse_study(to_toml(study)) == study
    (checksum,) = imported_code(study).values()
    assert len(checksum) == 64
    (tmp_path / "mine.py").write_text(MINE + "# changed\n")
    assert imported_code(read_study(path)) != {str(tmp_path / "mine.py"): checksum}


def test_a_stored_study_runs_nothing(tmp_path):
    path = write(tmp_path, "raise RuntimeError('run')")
    with pytest.raises(StudyError, match="selector 'rates' is not known"):
        read_study(path, imports=False)


@pytest.mark.parametrize(
    ("code", "first", "said"),
    [
        (MINE, 'import = ["other.py"]\n', r"import '.*other.py' is no Python file: give its path from the study file"),
        (MINE, 'import = ["study.toml"]\n', r"import '.*study.toml' is no Python file"),
        ("\nx = 1\nx.y", 'import = ["mine.py"]\n', r"mine.py' ends with AttributeError at line 3: 'int' object"),
        ("def f(:", 'import = ["mine.py"]\n', r"mine.py' ends with SyntaxError"),
        (MINE, 'imort = ["mine.py"]\n', r"field `imort` is not known: did you mean `import`\?"),
    ],
)
def test_what_cannot_be_imported_is_named(tmp_path, code, first, said):
    with pytest.raises(StudyError, match=said):
        read_study(write(tmp_path, code, first))


def test_studies_without_imports_are_stored_as_they_were():
    assert "imports" not in msgspec.to_builtins(Study())
    assert "import" not in msgspec.to_builtins(Study())
    assert "import =" not in to_toml(Study())


def test_a_changed_file_is_not_taken_for_finished(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "study.toml").write_text(
        'import = ["mine.py"]\nname = "small"\n[[corpora]]\nwhere = { take = [3] }\nclips_per_emotion = 4\n' + SMALL
    )
    study = read_study(tmp_path / "study.toml")
    run = RunFolder(run_study(study, tmp_path / "runs").path)
    assert run.read_json("manifest.json")["imports"] == imported_code(study)
    assert finished(run, study)
    (tmp_path / "mine.py").write_text(MINE + "# changed\n")
    assert not finished(run, read_study(tmp_path / "study.toml"))
