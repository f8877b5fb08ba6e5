"""A pilot: exact tests by hand, and what it says of real small runs."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from emoscope.experiments.engine import run_study
from emoscope.experiments.pilot import Plan, Rates, _verdict, fisher, hours, read_rates, tells_apart
from emoscope.experiments.study import parse_study
from emoscope.runs import Log, RunFolder


def test_fisher_counts_the_arrangements_by_hand() -> None:
    # 2 own clips and 3 others, 2 namings, both on own clips: 1 of the 10 ways to place two namings
    assert fisher(2, 2, 0, 3) == pytest.approx(1 / 10)
    ways = list(itertools.combinations(range(7), 3))
    at_least = sum(sum(place < 3 for place in way) >= 2 for way in ways) / len(ways)
    assert fisher(2, 3, 1, 4) == pytest.approx(at_least)
    # a model that names one emotion on every clip does not hear it, although it is right on all of its clips
    assert fisher(10, 10, 20, 20) == pytest.approx(1)
    assert fisher(0, 10, 0, 20) == pytest.approx(1)


def emotion(name: str, right: int, clips: int, alarms: int, others: int, expected: float) -> dict:
    return {"emotion": name, "clips": clips, "right": right, "recall": 100 * right / clips, "minimum": 30,
            "named_on_others": 100 * alarms / others, "p": fisher(right, clips, alarms, others), "expected": expected}  # fmt: skip


def test_the_verdict_names_what_stands_in_the_way() -> None:
    rows = [
        emotion("anger", 18, 20, 2, 60, 90),
        emotion("fear", 15, 20, 5, 60, 75),
        emotion("neutral", 12, 20, 6, 60, 12.4),
        emotion("sadness", 4, 20, 16, 60, 20),
        emotion("pain", 2, 4, 12, 60, 30),
    ]
    said = " | ".join(_verdict(rows, tells_apart(55.0, 20.0, 0.001), 0.3, 70.0))
    assert "the model tells the emotions apart: UAR 55 % where chance gives 20 %" in said
    assert "the model rarely answers with a letter (mass 0.3): try another wording" in said
    assert "is its most probable letter on 70 % of the clips only" in said
    assert "neutral will have about 12 correct clips where 30 are needed" in said
    assert "sadness is at chance (named on 4 of its 20 clips and on 27 % of the others)" in said
    # four clips are too few to call it chance
    assert "pain is not clearly above chance (named on 2 of its 4 clips and on 20 % of the others" in said
    assert said.endswith("ready: 2 of 5 emotions will have enough items (anger, fear)")
    said = " | ".join(_verdict(rows[2:], tells_apart(30.0, 33.0, 0.6), 0.9, None))
    assert said.startswith("UAR 30 % is not clearly above chance (33 %; chance alone does as well in 60 % of cases)")
    assert said.endswith("not ready: 0 of 3 emotions will have enough items, and a study needs two")


def test_rates_and_hours_by_hand(tmp_path: Path) -> None:
    log = Log("quiet", tmp_path / "log.jsonl")
    log.event("unit", stage="listening", answers=10, seconds=5.0)
    log.event("unit", stage="listening", answers=10, seconds=3.0)
    log.event("unit", stage="intervening", scoring="likelihood", answers=100, seconds=4.0)
    log.event("unit", stage="intervening", scoring="generation", answers=10, seconds=2.0)
    log.event("stage done", stage="loading model", seconds=7.0)
    log.event("selected", seconds=1.0)
    log.close()
    with (tmp_path / "log.jsonl").open("a") as file:
        file.write('{"event": "unit", "stage": "lis')
    assert read_rates(tmp_path / "log.jsonl") == Rates(2.5, 25.0, 5.0, 8.0)
    with (tmp_path / "log.jsonl").open("a") as file:  # gradients of 10 of the 20 that were heard
        file.write('\n{"event": "unit", "stage": "attributing", "answers": 10, "seconds": 2.0}\n')
    assert read_rates(tmp_path / "log.jsonl").heard == pytest.approx(2.0)
    # 25 / 2.5 + 50 / 25 + 10 / 5 + 8 = 22 seconds
    assert hours(Rates(2.5, 25.0, 5.0, 8.0), Plan(25, 0, 50, 10, {})) == pytest.approx(22 / 3600)
    assert hours(Rates(2.5, None, None, 8.0), Plan(25, 0, 50, 10, {})) is None


STUDY = """
name = "voices"
[[corpora]]
id = "polish"
emotions = ["anger", "fear", "neutral"]
where = { take = [3, 4, 5] }
[identify]
scope = "all"
minimum = 30
selectors = ["mad"]
[headline]
selector = "mad"
[interventions]
alphas = [1.0]
positions = []
reliance = false
[controls]
matched = 1
random = 1
shuffled = 1
orthogonal = 0
"""


@pytest.mark.long
def test_a_pilot_of_the_embedded_model_says_what_the_full_study_needs(tmp_path: Path) -> None:
    full = parse_study(STUDY)
    run = RunFolder(tmp_path / "run", create=True)
    log = Log("quiet", run / "log.jsonl")
    run_study(full.pilot(6), run.path, log, full=full)
    log.close()
    found = run.read_json("manifest.json")["pilot"]
    assert found["uar"] > 60
    assert found["p"] < 0.001
    assert sum(sum(row.values()) for row in found["confusion"].values()) == 18
    assert found["planned"]["heard"] == found["planned"]["evaluated"] == 270
    assert found["planned"]["written"] == 270 * int(run.read_table("conditions")["generated"].sum())
    assert 0 < found["projected_hours"] < 1
    assert 0 < found["projected_gb"] < 1
    assert found["clips_per_second"] > 0
    assert found["answers_per_second"] > 0
    assert any(sentence.startswith("ready: ") for sentence in found["verdict"])
    # 90 clips an emotion, 18 of a speaker, so 72 in every complement
    right = {row["emotion"]: row["right"] / 6 for row in found["emotions"]}
    assert {row["emotion"]: row["expected"] for row in found["emotions"]} == {
        name: pytest.approx(72 * share, abs=0.1) for name, share in right.items()
    }
    # the same full study: nothing to run; another one: the pilot is read anew, and no unit is asked again
    cards = {card: card.stat().st_mtime_ns for card in (run / "units").rglob("*.json")}
    more = parse_study(STUDY.replace("minimum = 30", "minimum = 80"))
    run_study(more.pilot(6), run.path, full=more)
    assert {row["minimum"] for row in run.read_json("manifest.json")["pilot"]["emotions"]} == {80}
    assert {card: card.stat().st_mtime_ns for card in (run / "units").rglob("*.json")} == cards
