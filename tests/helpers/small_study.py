"""A study that asks as little as a study can, and what a run has heard."""

from __future__ import annotations

from emoscope.experiments.items import study_corpus
from emoscope.experiments.stages import Listened, Task
from emoscope.models.audio_lm import AudioLM

SMALL = """
[identify]
minimum = 1
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = [0.5]
positions = []
reliance = false
generate = false
[controls]
matched = 0
random = 0
shuffled = 0
orthogonal = 0
"""
"""The end of a study file: one selector, one strength, no controls."""


def heard_before(task: Task, model: AudioLM) -> Listened:
    """What was heard before, from the task's run folder."""
    units = task.run.read_table("units")
    heard = tuple(units.filter(units["stage"] == "listen")["unit"])
    study = task.study.with_budget(model.info.recommended_budget)
    return Listened(task, study, model, task.run.read_table("items"), study_corpus(study), heard, "", (), "")
