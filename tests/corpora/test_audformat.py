from __future__ import annotations

import sys
from pathlib import Path
from pickle import dumps
from typing import Any

import pytest

from emoscope.corpora import open_corpus

audformat = pytest.importorskip("audformat", reason="skipped: the package audformat is not installed")

FILES = [f"wav/{name}.wav" for name in ("03a01Wa", "03a01Nc", "08a01Fd", "08a02Xx", "gone")]


def database(folder: Path, sound: Any, licence: str = "CC0-1.0") -> Any:
    """A real database with the tables of EmoDB's: labels in one, speakers and texts in another."""
    db = audformat.Database("emodb", source="Berlin", usage=audformat.define.Usage.UNRESTRICTED,
                            languages=["deu"], license=licence)  # fmt: skip
    db.schemes["emotion"] = audformat.Scheme(labels=["anger", "neutral", "happiness", "puzzled"])
    db.schemes["speaker"] = audformat.Scheme(labels={"3": {"gender": "male", "age": 31}, "8": {"gender": "female"}})
    db.schemes["transcription"] = audformat.Scheme(labels={"a01": "Der Lappen"})
    db.splits["test"] = audformat.Split(type=audformat.define.SplitType.TEST)
    add(db, "emotion", "emotion", ["anger", "neutral", "happiness", "puzzled", "anger"])
    add(db, "files", "speaker", ["3", "3", "8", "8", None])
    db["files"]["transcription"] = audformat.Column(scheme_id="transcription")
    db["files"]["transcription"].set(["a01", "a01", "a01", None, None])
    add(db, "emotion.test", "emotion", ["happiness"], files=FILES[2:3], split_id="test")
    for file in FILES[:-1]:
        sound(folder / file)
    db.save(str(folder))
    return db


def add(db: Any, table: str, scheme: str, values: list, files: list[str] = FILES, **more: Any) -> None:
    db[table] = audformat.Table(audformat.filewise_index(files), **more)
    db[table][scheme] = audformat.Column(scheme_id=scheme)
    db[table][scheme].set(values)


def test_a_database(tmp_path: Path, sound) -> None:
    database(tmp_path / "emodb", sound)
    for corpus in (open_corpus("audformat", tmp_path / "emodb"), open_corpus(tmp_path / "emodb")):
        assert [(c.id, c.speaker, c.split, c.transcript, dict(c.labels)) for c in corpus] == [
            ("wav/03a01Wa", "3", None, "Der Lappen", {"emotion": "anger", "gender": "male", "age": "31"}),
            ("wav/03a01Nc", "3", None, "Der Lappen", {"emotion": "neutral", "gender": "male", "age": "31"}),
            ("wav/08a01Fd", "8", "test", "Der Lappen", {"emotion": "happiness", "gender": "female"}),
        ]
        assert [(lost.id, lost.status, lost.why.split(":")[0]) for lost in corpus.lost] == [
            ("wav/08a02Xx", "excluded", "emotion 'puzzled' is not known"),
            ("wav/gone", "quarantined", "file not found"),
        ]
    info = corpus.info
    assert (info.id, info.language, info.licence, info.may_embed_audio) == ("audformat-emodb", "deu", "CC0-1.0", True)


def test_one_table_parts_of_files_and_own_schemes(tmp_path: Path, sound) -> None:
    db = database(tmp_path, sound, licence="CC-BY-NC-4.0")
    db.schemes["mood"] = audformat.Scheme(labels=["ok"])
    db["parts"] = audformat.Table(audformat.segmented_index(FILES[:3], ["0s", "0.1s", "0s"], ["NaT", "NaT", "0.1s"]))
    db["parts"]["mood"] = audformat.Column(scheme_id="mood")
    db["parts"]["mood"].set(["ok", "ok", "ok"])
    db.save(str(tmp_path))
    corpus = open_corpus("audformat", tmp_path, columns={"emotion": "mood"}, labels={"ok": "calm"}, others=[])
    assert [(clip.id, dict(clip.labels)) for clip in corpus] == [("wav/03a01Wa", {"emotion": "calm"})]
    assert {lost.why for lost in corpus.lost} == {"a part of a longer recording: cut it into a file of its own"}
    assert len(corpus.lost) == 2
    assert not corpus.info.may_embed_audio
    one = open_corpus("audformat", tmp_path, columns={"emotion": "emotion.test/emotion"})
    assert [clip.id for clip in one] == ["wav/08a01Fd"]


class Touches:
    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple:
        return Path.touch, (Path(self.path),)


def test_no_code_of_a_database_is_run(tmp_path: Path, sound) -> None:
    ran = tmp_path / "ran"
    database(tmp_path / "tagged", sound)
    header = tmp_path / "tagged" / "db.yaml"
    header.write_text(header.read_text() + f"meta:\n  x: !!python/object/apply:os.mkdir ['{ran}']\n")
    with pytest.raises(ValueError, match="cannot be read: could not determine a constructor for the tag"):
        open_corpus(tmp_path / "tagged")
    database(tmp_path / "pickled", sound)
    pickle = tmp_path / "pickled" / "db.emotion.pkl"
    pickle.write_bytes(dumps(Touches(ran)))
    assert len(open_corpus(tmp_path / "pickled")) == 3
    pickle.with_suffix(".parquet").unlink()
    with pytest.raises(ValueError, match=r"db\.emotion\.pkl is a pickle, which can run code"):
        open_corpus(tmp_path / "pickled")
    assert not ran.exists()
    outside = header.read_text().splitlines()
    header.write_text("\n".join(outside[: outside.index("meta:")]).replace("  emotion.test:", "  ../x:"))
    with pytest.raises(ValueError, match=r"names a table '\.\./x', which is no plain name"):
        open_corpus(tmp_path / "tagged")


def test_errors_say_what_to_give(tmp_path: Path, sound, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ValueError, match=r"corpus 'audformat' needs its database: give the folder of its db\.yaml"):
        open_corpus("audformat")
    with pytest.raises(FileNotFoundError, match=r"holds no db\.yaml"):
        open_corpus("audformat", tmp_path)
    db = database(tmp_path, sound)
    with pytest.raises(ValueError, match="has no scheme 'emotoin': did you mean 'emotion'"):
        open_corpus("audformat", tmp_path, columns={"emotion": "emotoin"})
    with pytest.raises(ValueError, match=r"has no table 'emotion\.tset': did you mean 'emotion\.test'"):
        open_corpus("audformat", tmp_path, columns={"emotion": "emotion.tset/emotion"})
    add(db, "other", "emotion", ["anger"], files=FILES[2:3])
    db.save(str(tmp_path))
    with pytest.raises(ValueError, match=r"where tables contradict each other, name one with .*'table/emotion'"):
        open_corpus("audformat", tmp_path)
    (tmp_path / "db.emotion.parquet").write_bytes(b"no parquet")
    with pytest.raises(ValueError, match="cannot be read"):
        open_corpus("audformat", tmp_path)
    (tmp_path / "db.yaml").write_text("a: [")
    with pytest.raises(ValueError, match="cannot be read"):
        open_corpus("audformat", tmp_path)
    monkeypatch.setitem(sys.modules, "audformat", None)
    with pytest.raises(ValueError, match=r"pip install 'emoscope\[audformat\]'"):
        open_corpus("audformat", tmp_path)
