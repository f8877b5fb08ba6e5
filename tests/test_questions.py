from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.questions import WORDINGS, Question, letter_orders, read_answer

FOUR = ("anger", "fear", "neutral", "sadness")

SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")

WORDED = {
    (
        "lettered",
        3,
    ): "Which emotion does the speaker express? (A) anger (B) fear (C) neutral Answer with the letter only.",
    ("lettered", 7): (
        "Which emotion does the speaker express? (A) anger (B) disgust (C) fear (D) happiness (E) neutral (F) sadness "
        "(G) surprise Answer with the letter only."
    ),
    ("listed", 3): (
        "Which emotion does the speaker express?\n(A) anger\n(B) fear\n(C) neutral\nAnswer with the letter only."
    ),
    ("listed", 7): (
        "Which emotion does the speaker express?\n(A) anger\n(B) disgust\n(C) fear\n(D) happiness\n(E) neutral\n"
        "(F) sadness\n(G) surprise\nAnswer with the letter only."
    ),
    ("listen first", 3): (
        "Listen to the audio and choose the option that describes it best. (A) anger (B) fear (C) neutral "
        "Answer with the letter only."
    ),
    ("listen first", 7): (
        "Listen to the audio and choose the option that describes it best. (A) anger (B) disgust (C) fear (D) happiness "
        "(E) neutral (F) sadness (G) surprise Answer with the letter only."
    ),
}


@pytest.mark.parametrize(("wording", "options"), WORDED)
def test_wordings_stay_as_they_are(wording: str, options: int) -> None:
    # results of different runs can only be compared while the texts stay the same
    asked = SEVEN if options == 7 else ("anger", "fear", "neutral")
    assert Question("emotion", asked, wording).text == WORDED[wording, options]


def test_every_wording_has_its_text_under_test() -> None:
    assert {wording for wording, _ in WORDED} == set(WORDINGS)


@given(st.data())
def test_clips_of_another_speaker_change_no_letter_order(data: st.DataObject) -> None:
    def drawn(speaker: str) -> list[tuple[str, str, str]]:
        labels = data.draw(st.lists(st.sampled_from(FOUR), max_size=12))
        return [(label, speaker, f"{speaker} {n}") for n, label in enumerate(labels)]

    def asked(rows: list[tuple[str, str, str]]) -> dict[str, list[tuple[str, ...]]]:
        orders = letter_orders(rows, FOUR, "all")
        return {row[2]: order for row, order in zip(rows, orders, strict=True)}

    before, added = drawn("s2"), [*drawn("s1"), *drawn("s3")]
    assert asked(before).items() <= asked([*added, *before]).items()


def test_question_errors_name_the_value() -> None:
    with pytest.raises(ValueError, match="hold one label twice"):
        Question("emotion", ("anger", "anger"))
    with pytest.raises(ValueError, match="between 2 and 26"):
        Question("emotion", ("anger",))
    with pytest.raises(ValueError, match="wording 'leterred' is not known"):
        Question("emotion", ("anger", "fear"), "leterred")
    with pytest.raises(ValueError, match="label 'joy' is not among the options anger, fear"):
        Question("emotion", ("anger", "fear")).letter("joy")


clips = st.integers(2, 6).flatmap(
    lambda size: st.tuples(
        st.just([f"label{i}" for i in range(size)]),
        st.lists(st.tuples(st.integers(0, size - 1), st.sampled_from(["s1", "s2"])), max_size=40),
    )
)


@given(clips, st.integers(0, 5))
def test_the_true_letter_is_balanced_within_speaker_and_label(drawn, seed: int) -> None:
    options, pairs = drawn
    labels, groups = [options[i] for i, _ in pairs], [speaker for _, speaker in pairs]
    sums = [f"content{i}" for i in range(len(pairs))]
    orders = letter_orders(list(zip(labels, groups, sums, strict=True)), options, 1, seed)
    assert all(sorted(order) == sorted(options) for (order,) in orders)
    for group in set(zip(groups, labels, strict=True)):
        places = Counter(
            order.index(label)
            for (order,), label, speaker in zip(orders, labels, groups, strict=True)
            if (speaker, label) == group
        )
        counts = [places[place] for place in range(len(options))]
        assert max(counts) - min(counts) <= 1


@given(clips, st.randoms(use_true_random=False))
def test_letter_orders_do_not_depend_on_the_order_of_clips(drawn, shuffler: random.Random) -> None:
    options, pairs = drawn
    rows = [(options[i], speaker, f"content{n}") for n, (i, speaker) in enumerate(pairs)]
    mixed = rows[:]
    shuffler.shuffle(mixed)

    def asked(rows: list[tuple[str, str, str]]) -> dict[str, list[tuple[str, ...]]]:
        orders = letter_orders(rows, options, 1)
        return {row[2]: order for row, order in zip(rows, orders, strict=True)}

    assert asked(rows) == asked(mixed)


def test_all_orders_are_the_rotations_of_one_shuffle() -> None:
    (orders,) = letter_orders([("fear", "s", "x")], FOUR, "all")
    first = orders[0]
    assert set(orders) == {first[i:] + first[:i] for i in range(4)}
    assert len(orders) == 4
    (two,) = letter_orders([("fear", "s", "x")], FOUR, 2)
    assert two == orders[:2]


def test_content_decides_the_shuffle() -> None:
    orders = letter_orders([("fear", "s", f"c{i}") for i in range(40)], FOUR)
    # 3! cyclic arrangements exist; all of them turn up among 40 contents
    cyclic = {tuple(order[(order.index("fear") + i) % 4] for i in range(4)) for (order,) in orders}
    assert len(cyclic) == 6


@pytest.mark.parametrize("orders", [0, 5, "every", 1.5])
def test_letter_orders_out_of_range(orders: object) -> None:
    with pytest.raises(ValueError, match=r'give a number from 1 to 4 \(the options\) or "all"'):
        letter_orders([("fear", "s", "x")], FOUR, orders)  # type: ignore[arg-type]


def test_letter_orders_name_a_label_that_is_no_option() -> None:
    with pytest.raises(ValueError, match="label 'joy' is not among the options anger, fear"):
        letter_orders([("joy", "s", "x")], FOUR)


LETTERS = {
    "fear": [
        "B", "b", " B\n", "(B)", "(b) fear", "B. anger", "B) fear", "B: fear", "B - fear", "B fear", "Answer: B", "answer: b",
        "The answer is B.", "The correct answer is (B) fear", "Option B", "**B**", "**Answer:** B", "__B__", "B<|im_end|>",
        "I think the answer is B", "The speaker is afraid (B).", "B is correct", "B because of the pitch",
        "Based on the tone, the answer is B.",
    ],
    "anger": ["A", "a", "A.", "A,", "A\nbecause", "A anger", "A is correct", "(A) angry"],
}  # fmt: skip


@pytest.mark.parametrize(("label", "text"), [(label, text) for label, texts in LETTERS.items() for text in texts])
def test_letters_are_read(label: str, text: str) -> None:
    assert read_answer(text, FOUR) == (label, "letter")


WORDS = {
    "sadness": ["A person sounds sad", "A sad person", "sadness", "Sad."],
    "anger": ["The speaker is angry", "A man sounds angry", "It's anger", "The speaker cannot hide her anger"],
    "fear": ["It is not anger but fear.", "a, well, fear", "a person in fear", "D'accord: fear"],
    "neutral": ["A neutral tone", "I would say neutral"],
}


@pytest.mark.parametrize(("label", "text"), [(label, text) for label, texts in WORDS.items() for text in texts])
def test_words_are_read(label: str, text: str) -> None:
    assert read_answer(text, FOUR) == (label, "word")


@pytest.mark.parametrize(
    "text",
    [
        "I cannot hear any audio", "I'm sorry, I can't tell whether it is anger", "As an AI I do not listen", "I don't know",
        "I am unable to determine the emotion: anger or fear", "There is no audio.",
    ],
)  # fmt: skip
def test_refusals_are_told_apart(text: str) -> None:
    assert read_answer(text, FOUR) == (None, "refusal")


@pytest.mark.parametrize(
    "text",
    [
        "", "?!", "E", "A or B", "B, C", "B and C", "(A) or (B)", "A/B", "anger or fear", "It is not anger", "happiness",
        "(A) anger (B) fear (C) neutral (D) sadness", "A. anger\nB. fear",
    ],
)  # fmt: skip
def test_what_chooses_nothing_is_unparsable(text: str) -> None:
    assert read_answer(text, FOUR) == (None, "unparsable")


def test_an_option_inside_another_one() -> None:
    assert read_answer("negative surprise", ("surprise", "negative surprise")) == ("negative surprise", "word")
    assert read_answer("It is surprise.", ("surprise", "negative surprise")) == ("surprise", "word")


def test_options_with_digits_and_accents() -> None:
    assert read_answer("m2", ("m1", "m2")) == ("m2", "word")
    assert read_answer("für", ("fur", "für")) == ("für", "word")


def test_i_is_a_word_beside_nine_options() -> None:
    nine = tuple(f"option{i}" for i in range(9))
    assert read_answer("I think so", nine) == (None, "unparsable")
    assert read_answer("I", nine) == ("option8", "letter")


@given(st.text(max_size=60))
def test_any_text_gives_a_form(text: str) -> None:
    label, form = read_answer(text, FOUR)
    assert form in ("letter", "word", "refusal", "unparsable")
    assert (label is not None) == (form in ("letter", "word"))
    assert label is None or label in FOUR


@given(st.sampled_from("ABCD"), st.sampled_from(["{}", "({})", "{}.", "{})", "Answer: {}", "**{}**", " {}\n"]))
def test_every_letter_in_every_shape(letter: str, shape: str) -> None:
    assert read_answer(shape.format(letter), FOUR) == (FOUR["ABCD".index(letter)], "letter")
