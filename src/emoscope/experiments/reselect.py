"""Sets from a run that has been listened to: other selectors, budgets and scopes, without the model."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from emoscope.experiments.pipeline import Pipeline
from emoscope.experiments.study import Controls, read_study
from emoscope.experiments.study_checks import check_study
from emoscope.runs import Log, RunFolder
from emoscope.runs.folder import refuse_whole

if TYPE_CHECKING:
    from emoscope.neurons.neuron_set import NeuronSet
    from emoscope.neurons.selection import FoundSets


def reselect(
    run: str | Path,
    selector: str = "cas",
    budget: float | None = None,
    scope: str | None = None,
    out: str | Path | None = None,
) -> FoundSets:
    """Find the sets of one selector in a run folder and save them.

    Args:
        run: a run folder that has been listened to.
        selector: lap, lape, lape-original, mad, mad-z, mad-active, cas, or the name of your own.
        budget: share of all neurons per emotion; the run's own by default.
        scope: positions that count; the run's own by default.
        out: folder for the sets; ``<run>/sets`` by default.
    """
    refuse_whole(run)
    folder = RunFolder(run)
    study = read_study(folder / "study.toml")
    if budget is None:
        manifest = folder.read_json("manifest.json") or {}
        budget = manifest.get("headline", {}).get("budget") or study.headline.budget
    if budget is None:
        budget = study.card().recommended_budget
    replace = msgspec.structs.replace
    study = replace(
        study,
        identify=replace(
            study.identify, selectors=(selector,), budgets=(budget,), sizes=(), scope=scope or study.identify.scope
        ),
        headline=replace(study.headline, selector=selector, budget=budget),
        controls=Controls(matched=0, random=0, shuffled=0),
    )
    check_study(study, str(folder / "study.toml"))
    found = Pipeline(study, folder, Log("quiet")).find_sets()
    found.save_sets(Path(out) if out else folder / "sets")
    return found


def read_set(path: Path, emotion: str | None) -> NeuronSet:
    """Read one emotion's neurons from a file of sets.

    Raises:
        ValueError: no emotion is named, or the file does not hold it.
    """
    from emoscope.neurons.neuron_set import load_group

    group = load_group(path)
    if emotion not in group:
        holds = f"{path} holds sets of {', '.join(group)}" + (f", none of {emotion!r}" if emotion else "")
        raise ValueError(f"{holds}: name one with --emotion")
    return group[emotion]
