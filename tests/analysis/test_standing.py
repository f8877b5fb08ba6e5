"""What comes before any number: chance, and voices that are unknown or too few."""

import polars as pl
import pytest

from emoscope.analysis.standing import at_chance, first_words, stored_words

UAR = {"condition": "baseline", "scoring": "likelihood", "uar": 60.0, "low": 50.0, "chance": 33.3}


@pytest.mark.parametrize(
    ("uar", "low", "lost"),
    [(60.0, 50.0, False), (60.0, 33.3, True), (60.0, 20.0, True), (20.0, None, True), (60.0, None, False), (None, None, False)],
)  # fmt: skip
def test_at_chance(uar, low, lost):
    assert at_chance({"uar": uar, "low": low, "chance": 33.3}) == lost


def test_nothing_is_said_of_a_sound_run():
    assert first_words(UAR, 0.0, 5) == []
    assert first_words(None, 0.0, 5) == []


def test_chance_comes_first_then_the_voices():
    lost, voices = first_words({**UAR, "low": 30.0}, 0.25, 3)
    assert lost.startswith("The untouched model is not clearly above chance: ")
    assert voices.startswith("Speakers unknown for 25 % of the items: the same voice may be on both sides.")


@pytest.mark.parametrize(
    ("speakers", "first"),
    [(["a", "b", "c", "d", "e", None], []), (["a"] * 6, ["Only 1 speaker:"]), ([None] * 6, ["Speakers unknown: the"])],
)
def test_only_evaluated_clips_count(speakers, first):
    items = pl.DataFrame(
        {"speaker": speakers, "status": "used", "evaluated": [True] * 5 + [False]},
        schema_overrides={"speaker": pl.String},
    )
    said = stored_words(pl.DataFrame([UAR]), items)
    assert [one[: len(start)] for one, start in zip(said, first, strict=True)] == first
