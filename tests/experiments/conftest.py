"""Reports of runs that are made for another reason are written without their figures, which take most of the time."""

from __future__ import annotations

import pytest

from tests.helpers.program import figureless, undrawn


@pytest.fixture(scope="module", autouse=True)
def figures(request: pytest.FixtureRequest):
    """Leave figures out, or define without drawing them where a module says ``FIGURES = "defined"``.

    Drawn pages are looked at in tests/report and tests/docs, and by the tests that start the program.
    """
    with pytest.MonkeyPatch.context() as patch:
        (undrawn if getattr(request.module, "FIGURES", "") == "defined" else figureless)(patch)
        yield
