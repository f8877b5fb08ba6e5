"""The parts of a study: which there are, what each asks, and what is refused."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from emoscope.experiments.engine import run_study
from emoscope.experiments.items import study_corpus
from emoscope.experiments.parts import has_parts, plan_parts
from emoscope.experiments.schema import StudyError
from emoscope.experiments.study import parse_study, read_study, to_toml
from emoscope.runs.folder import part_folders

TWO = """
[[corpora]]
id = "polish"
where = { take = [3] }
[[corpora]]
id = "polish"
where = { take = [4] }
emotions = ["anger", "neutral"]
[headline]
selector = "mad"
"""
PROBED = TWO.replace("[headline]", '[probes]\ncolumns = ["word"]\ngrounding = ["noise"]\n[headline]')


def test_a_study_of_one_corpus_has_no_parts() -> None:
    assert not has_parts(parse_study('[[corpora]]\nid = "polish"'))
    assert has_parts(parse_study(TWO))
    assert has_parts(parse_study('[probes]\ncolumns = ["word"]'))


def test_every_corpus_is_a_part_and_is_asked_again_about_the_emotions_that_all_share() -> None:
    parts, shared = plan_parts(parse_study(TWO), [])
    assert [(part.name, part.role) for part in parts] == [
        ("polish", "main"), ("polish-2", "main"), ("polish.shared", "shared"), ("polish-2.shared", "shared"),
    ]  # fmt: skip
    assert shared == ("anger", "neutral")
    assert parts[0].study.corpus.emotions == ()
    assert parts[2].study.corpus.emotions == shared
    # the clips of its corpus, in the same folds
    assert parts[2].corpus is parts[0].corpus
    assert {clip.labels["take"] for clip in parts[3].corpus.clips} == {"4"}
    assert not any(has_parts(part.study) for part in parts)


def test_columns_are_asked_of_corpora_that_have_them_about_all_their_clips() -> None:
    parts, _ = plan_parts(parse_study(PROBED), [])
    columns = {part.name: part for part in parts if part.role == "column"}
    assert set(columns) == {"polish.word", "polish-2.word"}
    asked = columns["polish-2.word"].study
    assert asked.identify.label == "word"
    # emotions are labels of another column
    assert asked.corpus.emotions == ()
    assert {clip.labels["emotion"] for clip in columns["polish-2.word"].corpus.clips} == {"anger", "neutral"}


def test_a_corpus_in_which_a_column_has_one_label_is_not_asked_about_it() -> None:
    one = PROBED.replace("take = [3]", 'take = [3], word = ["nie"]')
    assert "polish.word" not in {part.name for part in plan_parts(parse_study(one), [])[0]}


def test_a_column_that_no_corpus_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(StudyError, match=r"probes\.columns 'statement': no corpus .* can be asked are .*word"):
        plan_parts(parse_study(PROBED.replace('"word"', '"statement"')), [])


def test_questions_with_fewer_options_are_asked_in_fewer_letter_orders() -> None:
    text = 'side_effects = ["text"]\n[question]\nletter_orders = 3\n[headline]'
    study = parse_study(PROBED.replace("[headline]", text))
    orders = {part.name: part.study.question.letter_orders for part in plan_parts(study, [])[0]}
    assert orders["polish"] == orders["polish.noise"] == orders["polish.text"] == orders["polish.word"] == 3
    assert orders["polish.shared"] == 2
    many = parse_study(PROBED.replace("[headline]", text.replace("3", "6")))
    assert {p.name: p.study.question.letter_orders for p in plan_parts(many, [])[0]}["polish.text"] == 4


def test_probes_ask_the_first_clips_of_each_emotion_and_look_for_no_sets() -> None:
    parts, _ = plan_parts(parse_study(PROBED.replace("[probes]", "[probes]\nitems_per_emotion = 7")), [])
    (noise,) = [part for part in parts if part.name == "polish.noise"]
    assert (noise.role, noise.of, noise.selects) == ("grounding", "polish", False)
    assert noise.study.question.presentation == "noise"
    assert noise.study.corpus.clips_per_emotion == noise.study.evaluate.items_per_emotion == 7
    assert (noise.study.controls.matched, noise.study.interventions.alphas) == (5, ())


def test_corpora_that_share_too_little_are_named_with_what_they_hold() -> None:
    apart = TWO.replace(
        'emotions = ["anger", "neutral"]', 'emotions = ["joy", "fear"]\nmerge = { joy = ["anger", "neutral"] }'
    )
    with pytest.raises(StudyError, match=r"share 1 of the emotions .*polish: .*; polish-2: .*transfer\.ask = false"):
        plan_parts(parse_study(apart), [])
    parts, shared = plan_parts(parse_study(apart + "\n[transfer]\nask = false"), [])
    assert (len(parts), shared) == (2, ())


def test_what_the_schema_does_not_know_is_refused_by_name() -> None:
    for text, said in (
        ('[transfer]\nfuse = ["mean"]', r"transfer\.fuse 'mean' is not known: choose from overlap, joint, consistency"),
        ('[probes]\ngrounding = ["silence"]', r"probes\.grounding 'silence'"),
        ('[probes]\nside_effects = ["cooking"]', r"probes\.side_effects 'cooking'"),
        ('[probes]\ncolumns = ["word", "word"]', r"probes\.columns .* names one twice"),
        ('[probes]\ncolumns = ["emotion"]', r"probes\.columns 'emotion' is what the study asks anyway"),
        ('[probes]\ncolumns = ["noise"]', r"probes\.columns 'noise' is the name of another part"),
        ('[interventions]\nsweep = "some"', r"interventions\.sweep 'some'"),
    ):
        with pytest.raises(StudyError, match=said):
            parse_study(text)


ALONE = """
name = "alone"
[[corpora]]
id = "polish"
where = { take = [3, 4], word = "nie" }
merge = { aroused = ["anger", "fear"] }
emotions = ["aroused", "neutral"]
[[corpora]]
id = "polish"
where = { take = [5], word = ["nie", "tak"], emotion = ["anger", "neutral"] }
clips_per_emotion = 8
[identify]
minimum = 2
items_per_emotion = 8
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = []
positions = []
agnostic = []
reliance = false
generate = false
[controls]
matched = 0
random = 0
shuffled = 0
orthogonal = 0
[transfer]
ask = false
[probes]
columns = ["take", "word"]
grounding = ["noise"]
side_effects = ["transcription", "text"]
matched = 0
"""
SHARED = ALONE.replace(
    'emotion = ["anger", "neutral"] }',
    'emotion = ["anger", "fear", "neutral"] }\nmerge = { aroused = ["anger", "fear"] }',
)


TRANSFERRED = SHARED.replace("ask = false", "matched = 0\nfuse = []")


@pytest.mark.parametrize("text", [ALONE, TRANSFERRED])
@pytest.mark.parametrize("left_out", [(), ("m1.a_nie_3", "m2.n_nie_5")])
def test_the_study_of_each_part_opens_what_the_part_asks_about(text: str, left_out: tuple[str, ...]) -> None:
    parts, _ = plan_parts(parse_study(text), [])
    mains = {part.name: part.corpus for part in parts if part.role == "main"}
    assert {part.role for part in parts} >= {"main", "column", "grounding", "side effect"}
    for part in parts:
        used = [clip.id for clip in mains[part.of].clips if clip.id not in left_out or part.role == "main"]
        asked, study = part.asked(pl.DataFrame({"clip": used, "status": ["used"] * len(used)}))
        alone = study_corpus(parse_study(to_toml(study)))
        assert {clip.id: clip.labels for clip in alone.clips} == {clip.id: clip.labels for clip in asked.clips}


@pytest.mark.long
@pytest.mark.parametrize("text", [ALONE, TRANSFERRED])
def test_the_study_of_a_part_opens_the_very_clips_and_labels_on_which_the_part_ran(text: str, tmp_path: Path) -> None:
    run = run_study(parse_study(text), tmp_path / "run")
    seen = set()
    for folder in part_folders(run.path):
        study = read_study(folder / "study.toml")
        opened = {clip.id: clip.labels for clip in study_corpus(study).clips}
        asked = pl.read_parquet(folder / "items.parquet").filter(pl.col("status") != "excluded").unique("clip")
        label = study.identify.label
        assert set(opened) == set(asked["clip"]), folder.name
        rows = asked.select("clip", "truth", "emotion").iter_rows()
        assert {clip: (opened[clip][label], opened[clip].get("emotion")) for clip in opened} == {
            clip: (truth, emotion) for clip, truth, emotion in rows
        }, folder.name
        seen.add(folder.name)
    shared = {"polish.shared", "polish-2.shared"} if text != ALONE else set()
    assert seen >= {"polish", "polish.take", "polish-2.word", "polish.noise", "polish-2.text"} | shared
