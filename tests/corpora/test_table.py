from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from emoscope.corpora import open_corpus

ROWS = [
    {"file": "a/1.wav", "label": "angry", "spk": "001", "set": "train", "age": 31},
    {"file": "a/2.wav", "label": "joy", "spk": "002", "set": "test", "age": None},
    {"file": "a/gone.wav", "label": "sad", "spk": "002", "set": "test", "age": 40},
    {"file": "a/1.wav", "label": "sad", "spk": "001", "set": "train", "age": 31},
    {"file": "a/3.wav", "label": "irony", "spk": "001", "set": "train", "age": 31},
    {"file": "a/3.wav", "label": None, "spk": "001", "set": "train", "age": 31},
]
MAPPING = {"path": "file", "emotion": "label", "speaker": "spk", "split": "set"}


def write(folder: Path, ending: str, rows: list[dict] = ROWS) -> Path:
    path, frame = folder / f"clips.{ending}", polars.DataFrame(rows)
    if ending in ("csv", "tsv"):
        frame.write_csv(path, separator="," if ending == "csv" else "\t")
    elif ending == "parquet":
        frame.write_parquet(path)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize("ending", ["csv", "tsv", "parquet", "jsonl"])
def test_every_format_reads_the_same(tmp_path: Path, sound, ending: str) -> None:
    for name in ("1", "2", "3"):
        sound(tmp_path / "a" / f"{name}.wav")
    corpus = open_corpus(write(tmp_path, ending), columns=MAPPING)
    assert [(c.id, c.path.name, c.speaker, c.split, dict(c.labels)) for c in corpus] == [
        ("a/1", "1.wav", "001", "train", {"emotion": "anger", "age": "31"}),
        ("a/2", "2.wav", "002", "test", {"emotion": "happiness"}),
    ]
    assert corpus.info.id == "table-clips"
    assert [(lost.id, lost.status) for lost in corpus.lost] == [
        ("a/gone", "quarantined"), ("a/1", "excluded"), ("a/3", "excluded"), ("a/3", "excluded")
    ]  # fmt: skip
    whys = [lost.why for lost in corpus.lost]
    assert whys[:2] == ["file not found", "row 4 repeats this clip"]
    assert whys[2].startswith("emotion 'irony' is not known")
    assert whys[3] == "no emotion is given"
    assert corpus.where({"age": "30-39"}).counts("speaker") == {"001": 1}


def test_usual_column_names_are_found(tmp_path: Path, sound) -> None:
    sound(tmp_path / "x.wav")
    row = {"FileName": "x.wav", "EmoClass": "anger", "SpkrID": 30, "Gender": "Male", "Split_Set": "Test1"}
    (clip,) = open_corpus(write(tmp_path, "csv", [row])).clips
    assert (clip.speaker, clip.split, clip.labels) == ("30", "Test1", {"emotion": "anger", "Gender": "Male"})


def test_audio_root_own_ids_and_chosen_columns(tmp_path: Path, sound) -> None:
    sound(tmp_path / "sounds" / "x.wav")
    row = {"id": "clip one", "path": "x.wav", "emotion": "kl1", "a": 1, "b": 2, "mood": "low"}
    table = write(tmp_path, "csv", [row])
    corpus = open_corpus(
        table,
        audio_root=tmp_path / "sounds",
        labels={"KL1": "irony"},
        others=["b"],
        columns={"state": "mood"},
    )
    (clip,) = corpus.clips
    assert (clip.id, clip.labels) == ("clip one", {"emotion": "irony", "state": "low", "b": "2"})


def test_errors_name_value_and_remedy(tmp_path: Path, sound) -> None:
    sound(tmp_path / "a" / "1.wav")
    table = write(tmp_path, "csv")
    with pytest.raises(
        ValueError, match=r"table clips.csv has no column 'labl': did you mean 'label'\? known are file, label"
    ):
        open_corpus(table, columns={**MAPPING, "emotion": "labl"})
    with pytest.raises(FileNotFoundError, match=r"table .* does not exist"):
        open_corpus("table", tmp_path / "no.csv")
    with pytest.raises(ValueError, match="corpus 'table' needs its table"):
        open_corpus("table")
    with pytest.raises(FileNotFoundError, match=r"audio_root .* does not exist"):
        open_corpus(table, audio_root=tmp_path / "no")
    with pytest.raises(FileNotFoundError, match=r"no file that clips.csv names is there, such as .*audio_root=\.\.\."):
        open_corpus(write(tmp_path, "csv", ROWS[2:3]), columns=MAPPING)
    with pytest.raises(ValueError, match=r"no row of clips.csv can be used: emotion 'irony' is not known"):
        open_corpus(write(tmp_path, "csv", ROWS[4:5]), columns=MAPPING)
    (tmp_path / "clips.xlsx").write_bytes(b"PK")
    with pytest.raises(
        ValueError, match=r"has the ending '\.xlsx': \.csv, \.tsv, \.txt, \.tab, \.parquet and \.jsonl are read"
    ):
        open_corpus(tmp_path / "clips.xlsx")
    (tmp_path / "bad.parquet").write_bytes(b"not parquet")
    with pytest.raises(ValueError, match="cannot be read as parquet"):
        open_corpus(tmp_path / "bad.parquet")
    (tmp_path / "empty.csv").write_text("path,emotion\n")
    with pytest.raises(ValueError, match="has no rows"):
        open_corpus(tmp_path / "empty.csv")
    (tmp_path / "none.csv").write_text("path,mood\na/1.wav,sad\n")
    with pytest.raises(ValueError, match=r"no column for the emotion: name it with .*; it has path, mood"):
        open_corpus(tmp_path / "none.csv")


def test_whole_numbers_stay_whole_where_a_row_has_none(tmp_path: Path, sound) -> None:
    rows = [{"path": f"{i}.wav", "emotion": "sad", "age": age, "v": 1.5} for i, age in enumerate((31.0, None))]
    for row in rows:
        sound(tmp_path / row["path"])
    labels = [clip.labels for clip in open_corpus(write(tmp_path, "parquet", rows))]
    assert labels == [{"emotion": "sadness", "age": "31", "v": "1.5"}, {"emotion": "sadness", "v": "1.5"}]


def test_lists_are_refused_by_name(tmp_path: Path, sound) -> None:
    sound(tmp_path / "x.wav")
    table = write(tmp_path, "jsonl", [{"path": "x.wav", "emotion": "sad", "scores": [1, 2]}])
    with pytest.raises(ValueError, match=r"column .scores. of clips\.jsonl holds lists"):
        open_corpus(table)
    assert len(open_corpus(table, others=[])) == 1


cells = st.one_of(
    st.sampled_from(["x.wav", "y.wav", "anger", "sad", "", "nan", "irony", 'a"b', "a,b", "\t", "é", "\x00", "..", "/"]),
    st.text(alphabet="ab\",'\n\r;\\ ", max_size=6),
)


@example(rows=[['"', "\x00", "/"]], quoted=True)
@settings(
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], deadline=None, max_examples=60
)
@given(rows=st.lists(st.lists(cells, min_size=1, max_size=4), max_size=6), quoted=st.booleans())
def test_a_malformed_table_is_an_error_or_accounted_for(tmp_path: Path, sound, rows: list, quoted: bool) -> None:
    sound(tmp_path / "x.wav")
    lines = [",".join(f'"{c}"' if quoted else c for c in row) for row in [["path", "emotion", "speaker"], *rows]]
    table = tmp_path / "t.csv"
    table.write_text("\n".join(lines), encoding="utf-8")
    try:
        corpus = open_corpus(table)
    except (ValueError, FileNotFoundError) as error:
        assert "t.csv" in str(error)  # noqa: PT017
        return
    below = [line for line in table.read_bytes().splitlines() if line.strip(b' ,"')][1:]
    assert len(corpus) + len(corpus.lost) <= len(below)
    assert all(lost.why for lost in corpus.lost)


def test_two_speakers_that_differ_in_an_accent_stay_two_and_one_in_two_forms_is_one(tmp_path: Path, sound) -> None:
    for n in range(4):
        sound(tmp_path / f"{n}.wav")
    names = ["Müller", "Möller", "Zoë", "Zoe\u0308"]
    lines = ["Datei;Emotion;Sprecher;Valenz", *(f"{n}.wav;Wut;{name};3,{n}" for n, name in enumerate(names))]
    (tmp_path / "t.csv").write_bytes(
        "\r\n".join(lines[:3]).encode("cp1252") + b"\r\n" + "\r\n".join(lines[3:]).encode()
    )
    corpus = open_corpus(tmp_path / "t.csv")
    assert [clip.speaker for clip in corpus] == ["Müller", "Möller", "Zoë", "Zoë"]
    assert [clip.labels["Valenz"] for clip in corpus] == ["3.0", "3.1", "3.2", "3.3"]
    assert "read as Windows-1252" in corpus.told[0]
    assert "decimal commas of column 'Valenz'" in corpus.told[1]


def test_a_bad_row_is_left_out_by_its_number(tmp_path: Path, sound) -> None:
    for n in range(3):
        sound(tmp_path / f"{n}.wav")
    (tmp_path / "t.csv").write_text("path,emotion,text\n0.wav,sad,a\n1.wav,joy,well, you know\n2.wav,sad,b\n")
    corpus = open_corpus(tmp_path / "t.csv")
    assert [clip.id for clip in corpus] == ["0", "2"]
    assert [(lost.id, lost.why[:9]) for lost in corpus.lost] == [("row 2", "row has 4")]
    assert corpus.told[0].startswith(
        "t.csv: 1 row cannot be read and is left out: row 2 (line 3): row has 4 cells where"
    )


def test_clips_that_are_longer_than_their_rows_say_are_told(tmp_path: Path, sound) -> None:
    sound(tmp_path / "a.wav", 3.0)
    sound(tmp_path / "b.wav", 1.0)
    sound(tmp_path / "c.wav", 3.0)
    (tmp_path / "t.csv").write_text(
        "path,emotion,start,end\na.wav,sad,0,1.2\nb.wav,joy,00:10:01,00:10:02\nc.wav,joy,0,1\nc.wav,sad,1,3\n"
    )
    corpus = open_corpus(tmp_path / "t.csv")
    assert {clip.id: clip.labels["listed_s"] for clip in corpus} == {"a": "1.200", "b": "1.000"}
    assert all("part of a longer recording" in lost.why for lost in corpus.lost)
    assert corpus.summary()["longer"] == [["a", 3.0, "1.200"]]


@pytest.mark.parametrize(
    ("path", "drive"), [("file:///data/a.wav", False), ("https://x.org/a.wav", False), ("D:\\data\\a.wav", True)]
)
def test_an_address_is_not_taken_for_a_drive_of_windows(tmp_path, path, drive):
    with pytest.raises(FileNotFoundError, match="no file that rows names is there") as caught:
        open_corpus([{"path": path, "emotion": "sad"}], audio_root=tmp_path)
    assert ("on a drive of Windows" in str(caught.value)) is drive


@pytest.mark.parametrize("ending", ["parquet", "frame"])
def test_a_column_that_is_left_out_may_hold_anything(tmp_path: Path, sound, ending: str) -> None:
    sound(tmp_path / "1.wav")
    frame = polars.DataFrame({"path": ["1.wav"], "emotion": ["angry"], "x": [b"\xff"]})
    frame.write_parquet(tmp_path / "clips.parquet")
    given = frame if ending == "frame" else tmp_path / "clips.parquet"
    assert len(open_corpus("table", root=given, audio_root=tmp_path, others=[]).clips) == 1


def test_a_broken_line_leaves_other_cells_what_they_say(tmp_path: Path, sound) -> None:
    for place in "123":
        sound(tmp_path / f"{place}.wav")
    who = [("1", "<NA>"), ("2", " "), ("3", "m1")]
    lines = [json.dumps({"path": f"{n}.wav", "emotion": "angry", "speaker": speaker}) for n, speaker in who]
    (tmp_path / "clips.jsonl").write_text("\n".join([*lines, "{bad"]))
    corpus = open_corpus("table", root=tmp_path / "clips.jsonl")
    assert [clip.speaker for clip in corpus.clips] == [None, None, "m1"]
