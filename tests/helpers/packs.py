"""Run folders whose units lie in files of their own, as in a run that is not finished, or of an earlier version."""

from __future__ import annotations

import shutil

from emoscope.runs import RunFolder, Unit


def unpacked(run: RunFolder) -> RunFolder:
    """Take every unit out of the packs of a run folder, into a card and answers of its own."""
    units = sorted(run.units())
    cards = {unit: run.card(unit) or {} for unit in units}
    found = list(zip(units, run.answers(units), strict=True))
    shutil.rmtree(run / "units" / "packs", ignore_errors=True)
    for path in (run / "answers").glob("pack-*.parquet"):
        path.unlink()
    for unit, answers in found:
        Unit(cards[unit]["key"]).finish(run, answers, cards[unit]["notes"])
    assert run.units() == set(units)
    return run
