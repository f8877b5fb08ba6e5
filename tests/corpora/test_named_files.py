from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emoscope.corpora import open_corpus
from emoscope.corpora.named import GRAMMARS
from emoscope.emotions import CODES


@pytest.mark.parametrize("corpus", GRAMMARS)
def test_the_example_follows_its_grammar(corpus: str) -> None:
    clip = GRAMMARS[corpus].read(Path(GRAMMARS[corpus].example + ".wav"))
    assert clip is not None
    assert next(iter(clip.labels)) == "emotion"


@pytest.mark.parametrize(
    ("corpus", "name", "speaker", "transcript", "labels"),
    [
        ("polish", "m1.a_nie_2", "m1", "nie", {"emotion": "anger", "word": "nie", "take": "2"}),
        ("polish", "m5.s_trzymaj_1", "m5", "trzymaj", {"emotion": "fear", "word": "trzymaj", "take": "1"}),
        ("polish", "m3.n_tak_5", "m3", "tak", {"emotion": "neutral", "word": "tak", "take": "5"}),
        (
            "ravdess", "03-01-08-02-02-01-12", "12", "Dogs are sitting by the door",
            {"emotion": "surprise", "modality": "audio only", "channel": "speech", "intensity": "strong",
             "statement": "Dogs are sitting by the door", "take": "1", "gender": "female"},
        ),
        (
            "ravdess", "03-02-02-01-01-02-07", "07", "Kids are talking by the door",
            {"emotion": "calm", "modality": "audio only", "channel": "song", "intensity": "normal",
             "statement": "Kids are talking by the door", "take": "2", "gender": "male"},
        ),
        ("emogator", "000226-24-3", "000226", None, {"emotion": "sadness", "take": "3"}),
        ("emogator", "000001-27-1", "000001", None, {"emotion": "negative surprise", "take": "1"}),
        ("emogator", "000001-28-1", "000001", None, {"emotion": "surprise", "take": "1"}),
        (
            "crema-d", "1001_DFA_ANG_XX", "1001", "Don't forget a jacket",
            {"emotion": "anger", "statement": "Don't forget a jacket", "intensity": "unspecified"},
        ),
        (
            "crema-d", "1091_IEO_SAD_HI", "1091", "It's eleven o'clock",
            {"emotion": "sadness", "statement": "It's eleven o'clock", "intensity": "high"},
        ),
        (
            "emodb", "03a01Fa", "03", "Der Lappen liegt auf dem Eisschrank",
            {"emotion": "happiness", "statement": "Der Lappen liegt auf dem Eisschrank", "take": "a", "gender": "male"},
        ),
        (
            "emodb", "16b10Lb", "16", "Die wird auf dem Platz sein, wo wir sie immer hinlegen",
            {"emotion": "boredom", "statement": "Die wird auf dem Platz sein, wo wir sie immer hinlegen", "take": "b",
             "gender": "female"},
        ),
        ("tess", "OAF_back_angry", "OAF", "Say the word back", {"emotion": "anger", "word": "back", "gender": "female"}),
        ("tess", "YAF_chair_ps", "YAF", "Say the word chair", {"emotion": "surprise", "word": "chair", "gender": "female"}),
        ("tess", "OA_bite_neutral", "OAF", "Say the word bite", {"emotion": "neutral", "word": "bite", "gender": "female"}),
        ("savee", "DC_a01", "DC", None, {"emotion": "anger", "number": "01", "gender": "male"}),
        ("savee", "KL_su15", "KL", None, {"emotion": "surprise", "number": "15", "gender": "male"}),
        ("emovo", "gio-m3-l4", "m3", None, {"emotion": "happiness", "sentence": "l4", "gender": "male"}),
        ("emovo", "pau-f1-b1", "f1", None, {"emotion": "fear", "sentence": "b1", "gender": "female"}),
        ("esd", "0011_000351", "0011", None, {"emotion": "anger", "sentence": "1", "language": "English"}),
        ("esd", "0001_001750", "0001", None, {"emotion": "surprise", "sentence": "350", "language": "Chinese"}),
        ("nemo", "SM0_surprised_6", "SM0", None, {"emotion": "surprise", "sentence": "6"}),
        (
            "subesco", "F_01_OISHI_S_1_ANGRY_1", "F_01", None,
            {"emotion": "anger", "sentence": "1", "take": "1", "gender": "female"},
        ),
        (
            "subesco", "F_02_MONIKA_S_2_SURPRISE_3]", "F_02", None,
            {"emotion": "surprise", "sentence": "2", "take": "3", "gender": "female"},
        ),
        ("turev", "1157_kz_acik", "1157", "acik", {"emotion": "anger", "word": "acik"}),
        ("turev", "7895_hl_utanc", "7895", "utanc", {"emotion": "sadness", "word": "utanc"}),
    ],
)  # fmt: skip
def test_names_are_read(corpus: str, name: str, speaker: str, transcript: str | None, labels: dict[str, str]) -> None:
    clip = GRAMMARS[corpus].read(Path(f"some/{name}.wav"))
    assert clip is not None
    assert (clip.id, clip.speaker, clip.transcript, clip.labels) == (name, speaker, transcript, labels)


@pytest.mark.parametrize(
    ("corpus", "names", "block"),
    [
        ("polish", ["m1.a_nie_2", "m1.s_nie_2", "m4.n_nie_2"], "nie 2"),
        ("ravdess", ["03-01-08-02-02-01-12", "03-01-01-01-02-01-07"], "Dogs are sitting by the door 1"),
        ("emogator", ["000001-03-1"], None),
    ],
)
def test_a_block_is_a_sentence_and_a_take_in_any_emotion(corpus: str, names: list[str], block: str | None) -> None:
    clips = [GRAMMARS[corpus].read(Path(f"{name}.wav")) for name in names]
    assert [clip.block for clip in clips if clip] == [block] * len(names)


@pytest.mark.parametrize(
    ("corpus", "name"),
    [
        ("polish", "m1.x_nie_2"), ("polish", "m1_a_nie_2"), ("ravdess", "03-01-09-01-01-01-01"), ("ravdess", "03-01-05"),
        ("ravdess", "03-01-05-01-01-01-01 (1)"), ("emogator", "000001-31-1"), ("emogator", "000001-00-1"),
        ("crema-d", "1001_DFA_SUR_XX"), ("crema-d", "1001_QQQ_ANG_XX"), ("emodb", "03a01Xa"), ("emodb", "03c01Fa"),
        ("tess", "OAF_back_bored"), ("tess", "BAF_back_angry"), ("savee", "DC_x01"), ("savee", "a01"), ("savee", "DC_a1"),
        ("emovo", "dis-f1"), ("emovo", "xyz-f1-b1"), ("esd", "0011_001751"), ("esd", "0011_000000"), ("esd", "0021_000001"),
        ("nemo", "SM0_calm_1"), ("nemo", "SM_anger_1"), ("subesco", "F_01_OISHI_S_1_CALM_1"), ("subesco", "X_01_OISHI_S_1_SAD_1"),
        ("turev", "1157_xx_acik"), ("turev", "115_kz_acik"),
    ],
)  # fmt: skip
def test_other_names_do_not_follow(corpus: str, name: str) -> None:
    assert GRAMMARS[corpus].read(Path(name + ".wav")) is None


def test_every_release_has_its_codes_and_adds_up() -> None:
    for corpus, grammar in GRAMMARS.items():
        expected = grammar.info.expected
        named = {name: count for name, count in expected.items() if name not in ("clips", "speakers")}
        assert set(named) <= set(CODES.get(corpus, {}).values()) | {
            "neutral",
            "anger",
            "happiness",
            "sadness",
            "surprise",
        }
        if len(named) > 1:
            assert sum(named.values()) == expected["clips"], corpus


def test_a_speaker_folder_of_savee_stands_in_the_id(tmp_path: Path, sound) -> None:
    for name in ("DC/a01.wav", "KL/a01.wav", "KL/notes.wav"):
        sound(tmp_path / "AudioData" / name)
    corpus = open_corpus("savee", tmp_path)
    assert [(clip.id, clip.speaker) for clip in corpus] == [("DC_a01", "DC"), ("KL_a01", "KL")]
    assert [lost.why for lost in corpus.lost] == ["name does not follow DC_a01 (savee)"]
    # the folder of one speaker alone
    assert [clip.id for clip in open_corpus("savee", tmp_path / "AudioData" / "DC")] == ["DC_a01"]


def test_esd_checks_the_number_against_the_folder_and_its_lists(tmp_path: Path, sound) -> None:
    for name in (
        "0011/Angry/0011_000351.wav", "0011/Sad/0011_000352.wav", "0011/Neutral/train/0011_000001.wav",
        "0011/Neutral/0011_000002.wav", "0001/Happy/evaluation/0001_000701.wav", "0001/Happy/0001_000702.wav",
    ):  # fmt: skip
        sound(tmp_path / "Emotion Speech Dataset" / name)
    lists = {
        "0011/0011.txt": ("utf-8", "0011_000001\tThe nine the eggs, I keep.\tNeutral\n0011_000002\tI did.\tSad\nno line\n"
                          "0011_000003\tGone.\tNeutral\n"),
        "0001/0001.txt": ("gb18030", "0001_000701\t打远一看\t快乐\n"),
    }  # fmt: skip
    for name, (encoding, text) in lists.items():
        (tmp_path / "Emotion Speech Dataset" / name).write_text(text, encoding=encoding)
    corpus = open_corpus("esd", tmp_path)
    assert {(c.id, c.labels["emotion"], c.split, c.transcript, c.labels["language"]) for c in corpus} == {
        ("0011_000351", "anger", None, None, "English"),
        ("0011_000001", "neutral", "train", "The nine the eggs, I keep.", "English"),
        ("0001_000701", "happiness", "evaluation", "打远一看", "Chinese"),
        ("0001_000702", "happiness", None, None, "Chinese"),
    }
    assert {lost.id: (lost.status, lost.why) for lost in corpus.lost} == {
        "0011_000352": ("excluded", "name says anger, folder says Sad"),
        "0011_000002": ("excluded", "name says neutral, the corpus's own list says Sad"),
        "0011_000003": ("quarantined", "the corpus lists it, but the file is not there"),
    }


def test_turev_checks_the_folder(tmp_path: Path, sound) -> None:
    for name in ("Angry/1157_kz_acik.wav", "Calm/1157_kz_dil.wav", "1234_sk_algi.wav"):
        sound(tmp_path / "Sound Source" / name)
    corpus = open_corpus("turev", tmp_path)
    assert corpus.counts() == {"anger": 1, "calm": 1}
    assert [(lost.id, lost.why) for lost in corpus.lost] == [("1157_kz_dil", "name says anger, folder says Calm")]


NEMO = """file_id\temotion\traw_text\tnormalized_text\tspeaker_id\tgender\tage
SM0_anger_71.wav\tanger\tBaza wojskowa.\tbaza wojskowa\t        SM0\tmale\t24
IC0_neutral_5.wav\tneutral\t"Przestań go judzić.\tprzestań go judzić\t        IC0\tfemale\t28
IC0_fear_6.wav\tneutral\tŻart.\tżart\t        IC0\tfemale\t28
TP0_anger_20.wav\tanger
"""


def test_nemo_reads_its_table_where_it_is(tmp_path: Path, sound) -> None:
    for name in ("SM0_anger_71", "IC0_neutral_5", "IC0_fear_6", "IC0_surprised_46"):
        sound(tmp_path / "samples" / f"{name}.wav")
    assert open_corpus("nemo", tmp_path).counts() == {"anger": 1, "fear": 1, "neutral": 1, "surprise": 1}
    (tmp_path / "data.tsv").write_text(NEMO, encoding="utf-8")
    corpus = open_corpus("nemo", tmp_path)
    assert [(c.id, c.transcript, c.labels.get("gender"), c.labels.get("age")) for c in corpus] == [
        ("IC0_neutral_5", '"Przestań go judzić.', "female", "28"),
        ("IC0_surprised_46", None, None, None),
        ("SM0_anger_71", "Baza wojskowa.", "male", "24"),
    ]
    assert {lost.id: (lost.status, lost.why) for lost in corpus.lost} == {
        "IC0_fear_6": ("excluded", "name says fear, the corpus's own list says neutral"),
        "TP0_anger_20": ("quarantined", "the corpus lists it, but the file is not there"),
    }
    (tmp_path / "data.tsv").write_text("")
    with pytest.raises(ValueError, match=r"data\.tsv has no column file_id"):
        open_corpus("nemo", tmp_path)


def test_a_folder_where_every_clip_contradicts_itself_says_so(tmp_path: Path, sound) -> None:
    sound(tmp_path / "Calm" / "1157_kz_dil.wav")
    with pytest.raises(ValueError, match="can be used: name says anger, folder says Calm"):
        open_corpus("turev", tmp_path)


def test_only_a_licence_that_permits_it_lets_a_report_hold_audio() -> None:
    assert {corpus: grammar.info.licence for corpus, grammar in GRAMMARS.items() if grammar.info.may_embed_audio} == {
        "polish": "CC BY", "emogator": "Apache-2.0", "subesco": "CC BY 4.0"
    }  # fmt: skip
    assert {name for name, g in GRAMMARS.items() if re.search("NC|ND|research|home page|Database", g.info.licence)} == (
        set(GRAMMARS) - {"polish", "emogator", "subesco"}
    )


def test_a_tree_with_strays_doubles_and_others(tmp_path: Path, sound) -> None:
    sound(tmp_path / "Actor_01" / "03-01-05-01-01-01-01.wav")
    sound(tmp_path / "Actor_02" / "03-01-01-01-01-01-02.WAV")
    sound(tmp_path / "audio_speech_actors_01-24" / "Actor_01" / "03-01-05-01-01-01-01.wav")
    (tmp_path / "Actor_01" / "._03-01-05-01-01-01-01.wav").write_bytes(b"\0")
    sound(tmp_path / "Actor_01" / "my recording.wav")
    (tmp_path / "README.txt").write_text("not a clip")
    corpus = open_corpus("ravdess", tmp_path)
    assert [clip.id for clip in corpus] == ["03-01-05-01-01-01-01", "03-01-01-01-01-01-02"]
    assert {lost.path.name + " " + lost.path.parent.parent.name: lost.why for lost in corpus.lost} == {
        "my recording.wav " + tmp_path.name: "name does not follow 03-01-05-02-01-02-24 (ravdess)",
        "03-01-05-01-01-01-01.wav audio_speech_actors_01-24": "second copy (of Actor_01/03-01-05-01-01-01-01.wav)",
    }
    assert {lost.status for lost in corpus.lost} == {"excluded"}
    assert corpus.told == ("1 file is a ._ file that macOS left beside the recordings, not counted as clips",)


def test_a_folder_of_another_corpus_is_an_error(tmp_path: Path, sound) -> None:
    sound(tmp_path / "1001_DFA_ANG_XX.wav")
    with pytest.raises(
        ValueError, match=r"none of the 1 sound files under .* is named as in emodb \(such as 03a01Fa\)"
    ):
        open_corpus("emodb", tmp_path)


def test_an_empty_folder_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no sound file or video under .*: wav, flac, mp3"):
        open_corpus("emodb", tmp_path)


@given(st.sampled_from(sorted(GRAMMARS)), st.text(alphabet="0123456789-_.abmANGXLO", max_size=24))
def test_any_name_is_read_or_refused(corpus: str, name: str) -> None:
    clip = GRAMMARS[corpus].read(Path(f"{name}.wav"))
    assert clip is None or (clip.speaker and clip.labels["emotion"])


def test_polish_is_complete() -> None:
    corpus = open_corpus("polish")
    assert len(corpus) == 450
    assert corpus.lost == ()
    assert corpus.columns == ("emotion", "word", "take", "speaker")
    for column, each in (("emotion", 150), ("word", 75), ("take", 90), ("speaker", 90)):
        assert set(corpus.counts(column).values()) == {each}


@pytest.mark.parametrize(
    ("corpus", "clips", "speakers", "emotions"),
    [("polish", 450, 5, 3), ("emogator", 6000, 250, 8), ("ravdess", 1200, 20, 8)],
)
def test_real_corpora(real_data: Path, corpus: str, clips: int, speakers: int, emotions: int) -> None:
    found = open_corpus(corpus, real_data / corpus)
    assert (len(found), len(found.lost)) == (clips, 0)
    assert (len(found.counts("speaker")), len(found.counts("emotion"))) == (speakers, emotions)
    assert set(found.counts("speaker").values()) == {clips // speakers}
    # RAVDESS has no strong neutral
    few = {"neutral": clips // (2 * emotions - 1)} if corpus == "ravdess" else {}
    each = (clips - sum(few.values())) // (emotions - len(few))
    assert found.counts("emotion") == {name: few.get(name, each) for name in found.counts("emotion")}
    if corpus == "emogator":
        assert {clip.path.suffix for clip in found} == {".mp3"}
        assert set(found.counts("emotion")) == {
            "anger", "disgust", "fear", "neutral", "sadness", "surprise", "amusement", "elation"
        }  # fmt: skip
