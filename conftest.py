"""Run every example in docstrings, README and docs as a test."""

from __future__ import annotations

from doctest import ELLIPSIS, NORMALIZE_WHITESPACE

import pytest
from hypothesis import HealthCheck, settings
from sybil import Sybil
from sybil.document import PythonDocStringDocument
from sybil.parsers.doctest import DocTestParser
from sybil.parsers.markdown import PythonCodeBlockParser, SkipParser

from tests.helpers.program import undrawn

# the same examples in every run: a failure is one of the change at hand, and never one of a slow machine
settings.register_profile("steady", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("steady")


@pytest.fixture(scope="module")
def in_empty_folder(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest):
    """Examples in documents write their runs into a folder of their own; their pages are not drawn."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("examples"))
        undrawn(patch)
        yield


flags = ELLIPSIS | NORMALIZE_WHITESPACE
docstrings = Sybil(
    [DocTestParser(optionflags=flags)], pattern="*.py", path="src", document_types={".py": PythonDocStringDocument}
)
documents = Sybil([PythonCodeBlockParser(), SkipParser()], pattern="*.md", fixtures=["in_empty_folder"])
pytest_collect_file = (docstrings + documents).pytest()

LONGEST = (
    "tests/test_cli.py", "tests/experiments/test_shards.py", "README.md", "tests/chapters/test_pages.py",
    "tests/experiments/test_engine.py", "tests/experiments/test_stages.py", "tests/models/test_fetch.py",
    "tests/analysis/test_slow.py", "tests/experiments/test_api.py", "tests/docs/test_first_steps.py",
)  # fmt: skip
"""Files of which each takes long: they are begun first, so that no test process is left with one at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item], config: pytest.Config) -> None:
    """Begin with the longest files; all others stay in their order."""
    place = {config.rootpath / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.path, len(LONGEST)))
