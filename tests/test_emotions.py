from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.emotions import (
    ALIASES,
    AROUSAL,
    CANONICAL,
    CODES,
    MIDDLE_AROUSAL,
    UnknownEmotion,
    arousal_of,
    canonical,
    in_order,
)


@pytest.mark.parametrize(
    ("word", "emotion"),
    [
        ("hap", "happiness"), ("Happy", "happiness"), ("joy", "happiness"), ("happiness", "happiness"),
        ("ANG", "anger"), (" angry ", "anger"), ("exc", "excitement"), ("fru", "frustration"), ("oth", "other"),
        ("surprise_positive", "surprise"), ("Surprise-Negative", "negative surprise"), ("Wut", "anger"),
        ("Angst", "fear"), ("fröhlich", "happiness"), ("fro\u0308hlich", "happiness"), ("ZŁOŚĆ", "anger"),
        ("smutek", "sadness"), ("rabbia", "anger"), ("sorpresa", "surprise"), ("tristesse", "sadness"),
        ("alegría", "happiness"), ("miedo", "fear"), ("kızgın", "anger"), ("Mutlu", "happiness"), ("korku", "fear"),
        ("dukkho", "sadness"), ("中立", "neutral"), ("快乐", "happiness"), ("伤心", "sadness"), ("生气", "anger"),
        ("惊喜", "surprise"), ("Pleasant_surprise", "surprise"), ("sleepy", "sleepiness"),
        ("romantic love", "romantic love"), ("boredom", "boredom"), ("calm", "calm"), ("contempt", "contempt"),
    ],
)  # fmt: skip
def test_words_and_codes_have_one_name(word: str, emotion: str) -> None:
    assert canonical(word) == emotion


def test_every_alias_means_one_emotion() -> None:
    words = [word for emotion, aliases in ALIASES.items() for word in (emotion, *aliases)]
    assert len(words) == len(set(words))
    assert all(canonical(word) in ALIASES for word in words)


def test_every_code_leads_to_a_known_emotion() -> None:
    assert {emotion for codes in CODES.values() for emotion in codes.values()} <= set(ALIASES)
    assert len(set(CODES["emogator"].values())) == len(CODES["emogator"]) == 30


def test_a_letter_depends_on_the_corpus() -> None:
    assert (canonical("A", "emodb"), canonical("A", "msp-podcast"), canonical("a", "polish")) == (
        "fear",
        "anger",
        "anger",
    )
    with pytest.raises(UnknownEmotion, match="differs between corpora"):
        canonical("A")


def test_a_misspelt_emotion_names_the_nearest() -> None:
    with pytest.raises(UnknownEmotion, match=r"emotion 'angre' is not known: did you mean 'angry'\?") as caught:
        canonical("angre")
    assert (caught.value.name, caught.value.nearest) == ("angre", "angry")
    with pytest.raises(ValueError, match="known are anger, disgust, fear, happiness, neutral"):
        canonical("qqqqqqqq")


@given(st.lists(st.sampled_from([*ALIASES, "zeal", "irony"])))
def test_order_is_the_seven_then_alphabetical(names: list[str]) -> None:
    ordered = in_order(names)
    assert set(ordered) == set(names)
    seven = [name for name in ordered if name in CANONICAL]
    assert seven == [name for name in CANONICAL if name in names]
    assert list(ordered[len(seven) :]) == sorted(set(names) - set(CANONICAL))


def test_arousal_is_known_of_all_but_the_vague() -> None:
    assert set(ALIASES) - set(AROUSAL) == {"negative surprise", "other"}
    assert set(AROUSAL) <= set(ALIASES)
    assert {arousal_of(name) for name in ("anger", "fear", "happiness", "surprise")} == {"high"}
    assert {arousal_of(name) for name in ("boredom", "calm", "neutral", "sadness")} == {"low"}
    assert arousal_of("tak") is None
    assert all(1 <= rating <= 9 and rating != MIDDLE_AROUSAL for rating in AROUSAL.values())


@pytest.mark.parametrize("word", ["sachlich", "gereizt", "laughter", "verwirrt", "scream", "baseline"])
def test_a_word_of_another_meaning_is_not_proposed(word: str) -> None:
    with pytest.raises(UnknownEmotion, match="known are") as raised:
        canonical(word)
    assert raised.value.nearest is None
