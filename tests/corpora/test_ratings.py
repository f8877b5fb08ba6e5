from __future__ import annotations

from collections import Counter
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from emoscope.corpora import Clip, Corpus, CorpusInfo
from emoscope.corpora.licensed import with_thirds
from emoscope.corpora.rows import Statuses


def rated(ratings: list[str], lost: int = 0) -> Corpus:
    clips = [Clip(f"c{i}", Path("x.wav"), {"emotion": "anger", "valence": text}) for i, text in enumerate(ratings)]
    statuses = Statuses()
    for place, clip in enumerate(clips):
        statuses.add(clip, "no majority" if place < lost else None, None)
    statuses = with_thirds(statuses)
    return Corpus(CorpusInfo("x", "x"), tuple(statuses.clips.values()), tuple(statuses.lost))


@given(st.lists(st.integers(2, 10).map(lambda half: half / 2), min_size=3, max_size=60))
def test_thirds_are_ordered_and_hold_ties_together(ratings: list[float]) -> None:
    clips = rated([f"{rating:.4f}" for rating in ratings]).clips
    if len(set(ratings)) < 3:
        assert all("valence_third" not in clip.labels for clip in clips)
        return
    found: dict[str, set[float]] = {"low": set(), "mid": set(), "high": set()}
    for clip in clips:
        found[clip.labels["valence_third"]].add(float(clip.labels["valence"]))
    assert all(found.values())
    assert max(found["low"]) < min(found["mid"]) <= max(found["mid"]) < min(found["high"])


def test_different_ratings_are_parted_evenly() -> None:
    clips = rated([str(n) for n in range(30)]).clips
    assert Counter(clip.labels["valence_third"] for clip in clips) == {"low": 10, "mid": 10, "high": 10}


def test_clips_that_are_not_in_use_count_too() -> None:
    whole = {clip.id: clip.labels["valence_third"] for clip in rated([str(n) for n in range(30)])}
    part = rated([str(n) for n in range(30)], lost=12)
    assert {clip.id: clip.labels["valence_third"] for clip in part} == {f"c{n}": whole[f"c{n}"] for n in range(12, 30)}
    assert part.lost[0].clip is not None
    assert part.lost[0].clip.labels["valence_third"] == "low"


def test_a_text_that_is_no_number_gets_no_third() -> None:
    clips = rated(["1", "2", "3", "nan", "", "NA"]).clips
    assert [clip.labels.get("valence_third") for clip in clips] == ["low", "mid", "high", None, None, None]
