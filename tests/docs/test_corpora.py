"""The studies in docs/corpora.md are studies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from emoscope.corpora import open_corpus, polish_folder
from emoscope.corpora.registry import check_corpus_id
from emoscope.experiments.study import parse_study

PAGE = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
STUDIES = re.findall(r"^```toml\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("text", STUDIES, ids=range(len(STUDIES)))
def test_a_study_of_the_page_is_a_study(text: str) -> None:
    study = parse_study(text)
    check_corpus_id(study.corpus.id)


def test_the_benchmarks_have_studies() -> None:
    found = [parse_study(text).corpus.id for text in STUDIES]
    assert {"iemocap", "meld", "msp-podcast"} <= set(found)


def test_the_page_says_how_a_package_brings_a_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (line,) = re.findall(r'^    \[project\.entry-points\."emoscope\.corpora"\]\n    (.+)$', PAGE, re.MULTILINE)
    name, module, value = re.fullmatch(r'(\w+) = "my_package\.(\w+):(\w+)"', line).groups()
    (example,) = (
        text for text in re.findall(r"^```python\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL) if "Grammar(" in text
    )
    (tmp_path / "my_package").mkdir()
    (tmp_path / "my_package" / f"{module}.py").write_text(example[: example.index("register(")])
    (tmp_path / "my_package-1.0.dist-info").mkdir()
    (tmp_path / "my_package-1.0.dist-info" / "entry_points.txt").write_text(
        f"[emoscope.corpora]\n{name} = my_package.{module}:{value}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr("emoscope.corpora.registry._OWN", {})
    assert len(open_corpus(name, polish_folder())) == 450
