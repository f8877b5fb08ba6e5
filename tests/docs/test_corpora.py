"""The studies in docs/corpora.md are studies."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
