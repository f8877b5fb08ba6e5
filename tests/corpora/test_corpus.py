from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.corpora import Clip, Corpus, CorpusInfo, Lost, open_corpus

INFO = CorpusInfo("small", "A small corpus")


def small() -> Corpus:
    rows = [
        ("a1", "anger", "m1", "1", "f"), ("a2", "anger", "m2", "2", None), ("h1", "happiness", "m2", "1", "f"),
        ("x1", "excitement", "m10", "03", "m"), ("n1", "neutral", None, "2", "m"),
    ]  # fmt: skip
    clips = tuple(
        Clip(
            name,
            Path(f"{name}.wav"),
            {"emotion": emotion, "take": take} | ({"gender": gender} if gender else {}),
            speaker=speaker,
        )
        for name, emotion, speaker, take, gender in rows
    )
    return Corpus(INFO, clips, (Lost("z", Path("z.wav"), "excluded", "name does not follow the grammar"),))


def ids(corpus: Corpus) -> list[str]:
    return [clip.id for clip in corpus]


@pytest.mark.parametrize(
    ("filters", "left"),
    [
        ({"take": [1]}, ["a1", "h1"]),
        ({"take": [2, 3]}, ["a2", "x1", "n1"]),
        ({"take": "2-3"}, ["a2", "x1", "n1"]),
        ({"speaker": "2-10"}, ["a2", "h1", "x1"]),
        ({"speaker": ["m1", "3-12"]}, ["a1", "x1"]),
        ({"gender": "f"}, ["a1", "h1"]),
        ({"emotion": "joy"}, ["h1"]),
        ({"emotion": ["angry", "joy"], "take": 1}, ["a1", "h1"]),
        ({"clip": ["a1", "n1"]}, ["a1", "n1"]),
        ({}, ["a1", "a2", "h1", "x1", "n1"]),
    ],
)
def test_where(filters: dict, left: list[str]) -> None:
    corpus = small().where(filters)
    assert ids(corpus) == left
    assert len(corpus) + len(corpus.lost) == 6


def test_where_gives_the_filter_as_the_reason() -> None:
    assert small().where({"take": [2, 3]}).lost[-1].why == "where take = [2, 3]"
    lost = small().where({"speaker": "1-2"}).lost[1]
    assert (lost.id, lost.status, lost.why) == ("x1", "excluded", "where speaker = 1-2")
    assert lost.clip is not None
    assert lost.clip.labels["emotion"] == "excitement"


def test_where_errors_name_what_there_is() -> None:
    with pytest.raises(ValueError, match="has no column 'tkae': it has emotion, take, gender, speaker"):
        small().where({"tkae": [1]})
    with pytest.raises(ValueError, match="where gender = q accepts no clip of small: gender holds f, m"):
        small().where({"gender": "q"})


def test_a_filter_may_leave_nothing_where_values_were_lost_before() -> None:
    corpus = small().where({"take": [1]}).where({"take": [2]})
    assert (len(corpus), len(corpus.lost)) == (0, 6)
    assert corpus.counts() == {}
    assert "no clips" in repr(corpus)


def test_keep() -> None:
    corpus = small().keep(["anger", "Happy"])
    assert corpus.counts("emotion") == {"anger": 2, "happiness": 1}
    assert {lost.why for lost in corpus.lost[1:]} == {"label excitement is not asked", "label neutral is not asked"}
    by_gender = small().keep(["f"], column="gender")
    assert [lost.why for lost in by_gender.lost[1:]] == [
        "no gender is known", "label m is not asked", "label m is not asked"
    ]  # fmt: skip


def test_keep_names_the_labels_there_are() -> None:
    with pytest.raises(
        ValueError,
        match=r"has no emotion 'hapiness': did you mean 'happiness'\? it has anger, excitement, happiness, neutral",
    ):
        small().keep(["hapiness"])
    with pytest.raises(ValueError, match="no column 'word'"):
        small().keep(["stop"], column="word")


def test_merged() -> None:
    corpus = small().merged({"happiness": ["hap", "exc"]})
    assert corpus.counts("emotion") == {"anger": 2, "happiness": 2, "neutral": 1}
    assert small().counts("emotion")["excitement"] == 1, "the corpus itself does not change"
    assert list(corpus.clips[3].labels) == ["emotion", "take", "gender"]


def test_merged_errors() -> None:
    with pytest.raises(ValueError, match="label 'excitement' stands in both 'positive' and 'high'"):
        small().merged({"positive": ["happiness", "excitement"], "high": ["anger", "excitement"]})
    with pytest.raises(ValueError, match="has no emotion 'exitement'"):
        small().merged({"happiness": ["exitement"]})
    with pytest.raises(ValueError, match="'speaker' is not a label column"):
        small().merged({"men": ["m1"]}, column="speaker")


def test_without() -> None:
    corpus = small().without([{"take": [1], "gender": "f"}, {"speaker": "m10"}], "trained on by this model")
    assert ids(corpus) == ["a2", "n1"]
    assert {lost.why for lost in corpus.lost[1:]} == {"trained on by this model"}
    assert len(small().without([{"take": [77]}], "seen")) == 5
    assert len(small().without([{}], "all of it")) == 0
    with pytest.raises(ValueError, match="no column 'actor'"):
        small().without([{"actor": 1}], "seen")


def test_lose() -> None:
    corpus = small().lose("quarantined", {"a1": "silent"})
    assert (len(corpus), corpus.lost[-1].why, corpus.lost[-1].status) == (4, "silent", "quarantined")
    with pytest.raises(ValueError, match="clip 'q' is not among the 5 clips in use of small"):
        small().lose("excluded", {"q": "?"})
    with pytest.raises(ValueError, match="status 'gone' is not known"):
        small().lose("gone", {})


def test_counts_are_ordered_and_complete() -> None:
    assert list(small().counts("emotion")) == ["anger", "happiness", "neutral", "excitement"]
    assert small().counts("speaker") == {"m1": 1, "m2": 2, "m10": 1, "unknown": 1}
    assert list(small().counts("speaker"))[:3] == ["m1", "m2", "m10"]


def test_to_frame_lists_every_clip_with_its_status() -> None:
    frame = small().keep(["anger"]).lose("quarantined", {"a2": "silent"}).to_frame()
    assert frame.columns == [
        "clip",
        "path",
        "speaker",
        "session",
        "split",
        "emotion",
        "take",
        "gender",
        "status",
        "why",
    ]
    assert dict(frame["status"].value_counts().iter_rows()) == {"used": 1, "excluded": 4, "quarantined": 1}
    row = frame.filter(clip="x1").row(0, named=True)
    assert (row["emotion"], row["speaker"], row["why"]) == ("excitement", "m10", "label excitement is not asked")
    assert frame.filter(clip="z").row(0, named=True)["emotion"] is None


def test_an_id_must_be_unique() -> None:
    clip = Clip("a", Path("a.wav"), {"emotion": "anger"})
    with pytest.raises(ValueError, match="holds the clip id 'a' twice"):
        Corpus(INFO, (clip, clip))


def test_it_shows_itself() -> None:
    assert repr(small()) == (
        "<Corpus small: 5 clips used, 1 excluded, 0 quarantined; "
        "anger 2, happiness 1, neutral 1, excitement 1; 3 speakers>"
    )
    shown = Corpus(CorpusInfo("t", "Tom & Jerry"), small().clips)._repr_html_()
    assert "Tom &amp; Jerry" in shown
    assert "<td>anger</td><td>2</td>" in shown


filters = st.dictionaries(
    st.sampled_from(["take", "speaker", "word"]),
    st.sampled_from([[1, 2], "2-4", ["m1", "stop", 3], "1-5", 1, ["nie", "tak", "m5", "5"]]),
    max_size=2,
)


@given(st.lists(st.tuples(st.sampled_from(["where", "without", "keep"]), filters), max_size=4))
def test_no_clip_leaves_without_a_reason(steps: list) -> None:
    corpus = open_corpus("polish")
    for step, chosen in steps:
        try:
            if step == "where":
                corpus = corpus.where(chosen)
            elif step == "without":
                corpus = corpus.without([chosen], "seen before")
            else:
                corpus = corpus.keep(["anger", "fear"])
        except ValueError as error:
            assert "accepts no clip" in str(error)  # noqa: PT017
    assert len(corpus) + len(corpus.lost) == 450
    assert len({clip.id for clip in corpus} | {lost.id for lost in corpus.lost}) == 450
    assert all(lost.why for lost in corpus.lost)
