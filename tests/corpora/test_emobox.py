from __future__ import annotations

import json
from pathlib import Path

import pytest

from emoscope.corpora import open_corpus


def line(key: str, wav: str, emo: str, dataset: str = "iemocap", **more: object) -> str:
    row = {"key": key, "dataset": dataset, "wav": wav, "type": "raw", "sample_rate": 16000, "length": 0.2,
           "task": "category", "emo": emo, "channel": 1, **more}  # fmt: skip
    return json.dumps(row) + "\n"


TURNS = {"Ses01F_impro04_F000": "neu", "Ses01F_impro04_M001": "exc", "Ses02M_script01_1_F002": "ang",
         "Ses02M_script01_1_MXX0": "hap", "Ses02M_script01_1_M004": "xxx"}  # fmt: skip


@pytest.fixture
def emobox(tmp_path: Path, sound) -> Path:
    """A tree as in the repository of EmoBox, with its sound under downloads/."""
    home = tmp_path / "EmoBox" / "data" / "iemocap"
    lines = {}
    for turn, emo in TURNS.items():
        wav = f"downloads/iemocap/Session{turn[4]}/sentences/wav/{turn.rsplit('_', 1)[0]}/{turn}.wav"
        sound(tmp_path / "EmoBox" / wav)
        lines[turn] = line(f"iemocap-{turn}", wav, emo)
    for fold in (1, 2):
        place = home / f"fold_{fold}"
        place.mkdir(parents=True)
        test = [text for turn, text in lines.items() if turn[4] == str(fold)]
        train = [text for turn, text in lines.items() if turn[4] != str(fold)]
        (place / f"iemocap_test_fold_{fold}.jsonl").write_text("".join(test))
        (place / f"iemocap_train_fold_{fold}.jsonl").write_text("".join(train))
    (home / "iemocap.jsonl").write_text("".join(lines.values()))
    (home / "label_map.json").write_text(
        '{"neu": "Neutral", "hap": "Happy", "ang": "Angry", "sad": "Sad", "exc": "Happy"}'
    )
    # EmoBox takes the actor with the markers for the speaker
    stm = "".join(f"iemocap-{turn} 1 {turn[:6]} 0 0.2 <id=iemocap-{turn},lang=en,spk={turn[:6]}> x\n" for turn in TURNS)
    (home / "data.seg.wrd.stm").write_text(stm)
    return home


def test_a_corpus_of_emobox(emobox: Path) -> None:
    corpus = open_corpus("emobox", emobox)
    assert corpus.info.id == "emobox-iemocap"
    assert corpus.info.licence.startswith("by signed form")
    assert not corpus.info.may_embed_audio
    assert {c.id.removeprefix("iemocap-"): (c.labels["emotion"], c.labels["code"], c.speaker, c.session) for c in corpus} == {
        "Ses01F_impro04_F000": ("neutral", "neu", "Ses01F", "fold 1"),
        "Ses01F_impro04_M001": ("happiness", "exc", "Ses01M", "fold 1"),
        "Ses02M_script01_1_F002": ("anger", "ang", "Ses02F", "fold 2"),
        "Ses02M_script01_1_MXX0": ("happiness", "hap", "Ses02M", "fold 2"),
    }  # fmt: skip
    assert {c.block for c in corpus} == {"Ses01F_impro04", "Ses02M_script01_1"}
    assert [(lost.id, lost.status) for lost in corpus.lost] == [("iemocap-Ses02M_script01_1_M004", "excluded")]
    assert corpus.lost[0].why.startswith("emotion 'xxx' is not known")
    assert open_corpus("emobox", emobox, labels={"exc": "excitement", "xxx": ""}).counts()["excitement"] == 1


def test_one_fold_gives_the_splits(emobox: Path) -> None:
    corpus = open_corpus("emobox", emobox / "fold_2")
    assert {clip.id[8:14]: clip.split for clip in corpus} == {"Ses01F": "train", "Ses02M": "test"}
    assert corpus.counts() == {"anger": 1, "happiness": 2, "neutral": 1}
    # a clip that two folds test has no fold of its own
    again = emobox / "fold_2" / "iemocap_test_fold_2.jsonl"
    again.write_text((emobox / "iemocap.jsonl").read_text())
    assert open_corpus("emobox", emobox).counts("session") == {"fold 2": 2, "unknown": 2}
    one = open_corpus("emobox", emobox / "iemocap.jsonl")
    assert (len(one), one.counts("session") if "session" in one.columns else None) == (4, None)


def test_speakers_come_from_the_line_the_name_or_the_list(tmp_path: Path, sound) -> None:
    sound(tmp_path / "downloads" / "tess" / "OAF_lid_fear.wav")
    sound(tmp_path / "downloads" / "shemo" / "F01A01.wav")
    home = tmp_path / "data" / "x"
    home.mkdir(parents=True)
    (home / "x.jsonl").write_text(
        line("a", "downloads/tess/OAF_lid_fear.wav", "ps", "tess", spk="mine")
        + line("b", "downloads/tess/OAF_lid_fear.wav", "ps", "tess")
        + line("c", "downloads/shemo/F01A01.wav", "angry", "tess")
    )
    (home / "data.seg.wrd.stm").write_text("c 1 F01 0 1 <id=c> angry\nbroken\n")
    corpus = open_corpus("emobox", home)
    assert {clip.id: (clip.speaker, clip.block) for clip in corpus} == {
        "a": ("mine", None), "b": ("OAF", None), "c": ("F01", None),
    }  # fmt: skip
    # the words of tess are known without a label map
    assert open_corpus("emobox", home).counts() == {"anger": 1, "surprise": 2}


def test_lines_that_cannot_be_used_are_counted(tmp_path: Path, sound) -> None:
    sound(tmp_path / "a.wav")
    (tmp_path / "x.jsonl").write_text(
        line("a", "a.wav", "sad", "x") + "{not json\n[1]\n\n" + line("a", "a.wav", "sad", "x")
        + line("p", "a.wav", "sad", "x", start_time=0.0, end_time=0.1) + line("q", "gone.wav", "sad", "x")
        + json.dumps({"key": "r", "emo": "sad"}) + "\n"
    )  # fmt: skip
    (tmp_path / "fold_1").mkdir()
    (tmp_path / "fold_1" / "x_test_fold_1.jsonl").write_text(
        line("a", "a.wav", "sad", "x") + line("new", "a.wav", "sad", "x")
    )
    corpus = open_corpus("emobox", tmp_path)
    assert [(clip.id, clip.session, clip.split) for clip in corpus] == [("a", None, "test")]
    assert [(lost.id, lost.status, lost.why) for lost in corpus.lost] == [
        ("row 2", "excluded", "x.jsonl line 2: is not JSON"),
        ("row 3", "excluded", "x.jsonl line 3: is no JSON object"),
        ("a", "excluded", "row 4 repeats this clip"),
        ("p", "excluded", "a part of a longer recording: cut it into a file of its own"),
        ("q", "quarantined", "file not found"),
        ("r", "excluded", "no path is given"),
        ("new", "excluded", "x_test_fold_1.jsonl line 2: is not among all clips of the corpus"),
    ]


def test_both_spellings_of_a_fold_are_one(tmp_path: Path, sound) -> None:
    sound(tmp_path / "wav" / "03a01Wa.wav")
    (tmp_path / "fold_1").mkdir()
    for name in ("emodb_test_fold1.jsonl", "emodb_test_fold_1.jsonl"):
        (tmp_path / "fold_1" / name).write_text(line("e", "wav/03a01Wa.wav", "boredem", "emodb"))
    (tmp_path / "label_map.json").write_text('{"boredem": "Boredom"}')
    corpus = open_corpus("emobox", tmp_path / "fold_1")
    assert [(clip.speaker, clip.split, clip.labels["emotion"]) for clip in corpus] == [("03", "test", "boredom")]
    assert corpus.lost == ()


def test_errors_say_what_to_give(tmp_path: Path, sound) -> None:
    with pytest.raises(ValueError, match="needs the folder of its JSON lines"):
        open_corpus("emobox")
    with pytest.raises(FileNotFoundError, match="nowhere does not exist: give a folder such as"):
        open_corpus("emobox", tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no JSON lines in"):
        open_corpus("emobox", tmp_path)
    (tmp_path / "x.jsonl").write_text(line("a", "downloads/a.wav", "sad"))
    with pytest.raises(FileNotFoundError, match=r"no file that .* names is there, such as .*downloads/a\.wav"):
        open_corpus("emobox", tmp_path)
    with pytest.raises(FileNotFoundError, match=r"audio_root .* does not exist"):
        open_corpus("emobox", tmp_path, audio_root=tmp_path / "no")
    for text in ("{", "[]", '{"a": 1}'):
        (tmp_path / "label_map.json").write_text(text)
        with pytest.raises(ValueError, match=r"label_map\.json"):
            open_corpus("emobox", tmp_path)
