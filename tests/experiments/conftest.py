"""Reports of runs that are made for another reason are written without their pictures, which take most of the time."""

from __future__ import annotations

import pytest


@pytest.fixture(scope="module", autouse=True)
def pictures(request: pytest.FixtureRequest):
    """Leave drawing out, unless a module says ``DRAWN = True``; every figure is defined and every table made.

    Drawn pages are looked at in tests/report, and by the tests that start the program.
    """
    with pytest.MonkeyPatch.context() as patch:
        if not getattr(request.module, "DRAWN", False):
            patch.setattr("emoscope.report.pictures.to_svg", lambda *_, **__: "<svg></svg>")
            patch.setattr("emoscope.report.pictures.to_pdf", lambda _: b"")
        yield
