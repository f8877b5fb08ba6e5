from __future__ import annotations

from pathlib import Path

import pytest

from emoscope.corpora import Clip, Corpus, CorpusInfo, list_corpora
from emoscope.corpora.audio import SoundFacts
from emoscope.corpora.check import Inspection, describe
from emoscope.corpora.registry import READERS
from emoscope.emotions import canonical

USUAL_TASKS = {info.id: info.usual for info in list_corpora() if info.usual}
INFO = CorpusInfo.of("iemocap")


def test_the_usual_task_takes_excitement_as_happiness_and_leaves_the_rest_out() -> None:
    labels = ["anger", "excitement", "happiness", "frustration", "neutral", "sadness"]
    clips = tuple(Clip(str(i), Path(f"{i}.wav"), {"emotion": label}) for i, label in enumerate(labels))
    facts = {clip.id: SoundFacts(1.0, 16_000, 1) for clip in clips}
    found = describe(Corpus(INFO, clips), Inspection(facts, {}, {}, ()))["usual"]["by_emotion"]
    assert found == {"anger": 1, "happiness": 2, "neutral": 1, "sadness": 1}


def test_a_complete_iemocap_gives_as_many_clips_as_papers_say() -> None:
    task = USUAL_TASKS["iemocap"]
    merged = {old for olds in task.merge.values() for old in olds}
    assert sum(INFO.expected[label] for label in merged | set(task.emotions)) == task.clips == 5531


@pytest.mark.parametrize("corpus", USUAL_TASKS)
def test_usual_tasks_use_ids_and_names_that_exist(corpus: str) -> None:
    task = USUAL_TASKS[corpus]
    assert corpus in READERS
    assert all(canonical(label) == label for label in (*task.emotions, *task.merge))
    assert set(task.merge) <= set(task.emotions)
