"""Malformed label files and file names, for every reader: a clear error, or a reason for every row and file.

Never another exception, and never a silent loss: what is there is used, excluded or quarantined.
"""

from __future__ import annotations

import io
import json
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import polars
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emoscope.corpora import Corpus, open_corpus
from emoscope.corpora.files import SOUND
from emoscope.corpora.named import GRAMMARS
from emoscope.corpora.registry import READERS

FUZZ = settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Few enough that the whole file stays within seconds."""

NAME = "kiosk"
"""Name of the folder or table that is read: every message must hold it."""

EDITS = st.lists(
    st.tuples(
        st.sampled_from(["cut", "insert", "drop line", "repeat line", "swap"]),
        st.floats(0, 1, exclude_max=True),
        st.one_of(
            st.sampled_from(
                [b"\0", b"\xff\xfe", b'"', b"\r", b"\t", b",", b"\n", b"[", b"{", b"\xe9", b";", b"nan", b"\\"]
            ),
            st.binary(max_size=4),
        ),
    ),
    max_size=4,
)
ODD_NAMES = st.text(alphabet="abAB019_-. []{}'\"é😀\n%~", min_size=1, max_size=12).filter(
    lambda name: name.strip(".") and name == name.strip()
)


def edited(content: bytes, edits: list[tuple[str, float, bytes]]) -> bytes:
    for what, where, more in edits:
        place = int(where * (len(content) + 1))
        lines = content.split(b"\n")
        line = int(where * len(lines))
        if what == "cut":
            content = content[:place]
        elif what == "insert":
            content = content[:place] + more + content[place:]
        elif what == "swap":
            content = content[:place] + more + content[place + len(more) :]
        elif what == "drop line":
            content = b"\n".join(lines[:line] + lines[line + 1 :])
        else:
            content = b"\n".join(lines[: line + 1] + lines[line:])
    return content


def touch(root: Path, *names: str) -> None:
    # opening reads names alone
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


@contextmanager
def folder() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(prefix="fuzz-") as place:
        yield Path(place) / NAME


def sounds(root: Path) -> set[Path]:
    return {path for path in root.rglob("*") if path.is_file() and path.suffix.lower() in SOUND}


def opened(root: Path, corpus: str, place: Path | None = None, **options: Any) -> Corpus | None:
    """The corpus with its invariants checked, or ``None`` where a clear error was raised."""
    try:
        found = open_corpus(corpus, place or root, **options)
    except (ValueError, FileNotFoundError) as error:
        assert not isinstance(error, UnicodeError)  # noqa: PT017
        assert NAME in str(error), "the message names neither the file nor the folder"  # noqa: PT017
        return None
    assert all(lost.why and lost.status in ("excluded", "quarantined") for lost in found.lost)
    assert all(clip.labels.get("emotion") and clip.path.is_file() for clip in found)
    assert len({clip.path for clip in found}) == len(found) or corpus in ("table", "emobox", "datasets")
    assert found.to_frame().height == len(found) + len(found.lost)
    return found


def accounts_for(found: Corpus, files: set[Path]) -> None:
    paths = {clip.path for clip in found} | {lost.path for lost in found.lost}
    clips = {file for file in files if not file.name.startswith("._")}
    assert not clips - paths, "a sound file was lost in silence"
    assert clips == files or any("._ file" in sentence for sentence in found.told)
    assert len(found) + len(found.lost) >= len(clips)


@FUZZ
@given(
    corpus=st.sampled_from([*GRAMMARS, "folder"]),
    edits=st.lists(EDITS, min_size=1, max_size=3),
    odd=st.lists(st.tuples(ODD_NAMES, st.sampled_from([".wav", ".WAV", ".flac", ".txt", ""])), max_size=4),
    deep=st.booleans(),
)
def test_file_names(corpus: str, edits: list, odd: list, deep: bool) -> None:
    example = GRAMMARS[corpus].example if corpus in GRAMMARS else "angry/1"
    with folder() as root:
        touch(root, f"{example}.wav")
        for edit in edits:
            name = edited(example.encode(), edit).decode("utf-8", "surrogateescape").replace("\0", "")
            name = "/".join(part for part in name.split("/") if part.strip(".")) or "x"
            with_edit = f"{'a/b/' if deep else ''}{name[:60]}.wav"
            if not any(part in (".", "..") for part in with_edit.split("/")):
                touch(root, with_edit)
        touch(root, *(name + ending for name, ending in odd))
        found = opened(root, corpus)
        if found is not None:
            # a name that is no UTF-8 is shown with ? in its place
            accounts_for(
                found, {path for path in sounds(root) if str(path) == os.fsencode(path).decode("utf-8", "replace")}
            )
            assert len(found) + len(found.lost) == len(sounds(root))


@FUZZ
@given(
    pattern=st.one_of(
        st.text(alphabet="{}emotion/spakr_.*[]()\\+?wv1", max_size=20).map("{emotion}".__add__),
        st.sampled_from(
            ["{emotion}/{speaker}_{}.wav", "**/{emotion}/{}", "{emotion}_{w}.wav", "{split}/{emotion}/{}.*"]
        ),
    ),
    names=st.lists(ODD_NAMES, max_size=4),
)
def test_patterns(pattern: str, names: list[str]) -> None:
    with folder() as root:
        touch(
            root,
            "corpus/angry/a_1.wav",
            "sad/b_2.wav",
            "sad.wav",
            "angry_corpus.flac",
            *(f"joy/{n}.wav" for n in names),
        )
        try:
            found = open_corpus("folder", root, pattern=pattern)
        except ValueError as error:
            assert repr(pattern) in str(error)  # noqa: PT017
            return
        accounts_for(found, sounds(root))
        assert len(found) + len(found.lost) == len(sounds(root))


NEMO = "file_id\temotion\traw_text\tspeaker_id\tgender\tage\nSM0_anger_1.wav\tanger\tA b.\t SM0\tmale\t24\nSM0_fear_2.wav\tfear\tC\tSM0\tmale\t24\n"
ESD = "0011_000001\tOne.\tNeutral\n0011_000351\tTwo.\tAngry\n"


@FUZZ
@given(edits=EDITS, esd=st.booleans())
def test_lists_beside_the_recordings(edits: list, esd: bool) -> None:
    with folder() as root:
        if esd:
            touch(root, "0011/Neutral/0011_000001.wav", "0011/Angry/0011_000351.wav", "0011/Sad/0011_001051.wav")
        else:
            touch(root, "samples/SM0_anger_1.wav", "samples/SM0_fear_2.wav", "samples/SM0_fear_3.wav")
        name, text = ("0011/0011.txt", ESD) if esd else ("data.tsv", NEMO)
        (root / name).write_bytes(edited(text.encode(), edits))
        found = opened(root, "esd" if esd else "nemo")
        if found is not None:
            accounts_for(found, sounds(root))


ROWS = [{"path": "a.wav", "emotion": "sad", "speaker": "1", "word": "x"}, {"path": "gone.wav", "emotion": "joy", "speaker": "2", "word": "y"},
        {"path": "b.wav", "emotion": "irony", "speaker": None, "word": "é"}]  # fmt: skip


def _table(kind: str) -> bytes:
    frame, out = polars.DataFrame(ROWS), io.BytesIO()
    if kind == "parquet":
        frame.write_parquet(out)
    elif kind == "jsonl":
        return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in ROWS).encode()
    else:
        frame.write_csv(out, separator="\t" if kind == "tsv" else ",")
    return out.getvalue()


@FUZZ
@given(kind=st.sampled_from(["csv", "tsv", "jsonl", "parquet"]), edits=EDITS)
def test_tables(kind: str, edits: list) -> None:
    with folder() as root:
        touch(root, "a.wav", "b.wav")
        # polars ends the whole process at some single bytes that are wrong inside a Parquet file: only cut those off
        ours = [edit for edit in edits if kind != "parquet" or edit[0] == "cut"]
        (root / f"{NAME}.{kind}").write_bytes(edited(_table(kind), ours))
        found = opened(root, "table", root / f"{NAME}.{kind}")
        if found is not None and kind in ("csv", "tsv", "jsonl"):
            lines = [line for line in (root / f"{NAME}.{kind}").read_bytes().splitlines() if line.strip()]
            rows = len(lines) - (kind != "jsonl")
            assert len(found) + len(found.lost) <= rows, "a clip was made of nothing"
            assert edits or len(found) + len(found.lost) == rows


@FUZZ
@given(
    lines=EDITS, fold=EDITS, words=EDITS, speakers=EDITS,
    values=st.lists(st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.lists(st.none(), max_size=1)),
                    min_size=5, max_size=5),
)  # fmt: skip
def test_emobox(lines: list, fold: list, words: list, speakers: list, values: list) -> None:
    rows = [
        {"key": f"x-{n}", "dataset": "x", "wav": f"wav/{n}.wav", "emo": emo} for n, emo in enumerate(("h", "s", "h"))
    ]
    rows.append(dict(zip(("key", "dataset", "wav", "emo", "spk"), values, strict=True)))
    with folder() as root:
        touch(root, "wav/0.wav", "wav/1.wav", "fold_1/x")
        content = edited("".join(json.dumps(row) + "\n" for row in rows).encode(), lines)
        (root / "x.jsonl").write_bytes(content)
        tested = "".join(json.dumps(row) + "\n" for row in rows[:2]).encode()
        (root / "fold_1" / "x_test_fold_1.jsonl").write_bytes(edited(tested, fold))
        (root / "label_map.json").write_bytes(edited(b'{"h": "Happy", "s": "Sad"}', words))
        (root / "data.seg.wrd.stm").write_bytes(
            edited(b"x-0 1 anna 0 1 <id=x-0> h\nx-1 1 bert 0 1 <id=x-1> s\n", speakers)
        )
        found = opened(root, "emobox")
        if found is not None and not lines and not fold:
            assert len(found) + len(found.lost) == len(rows)


TURNS = (
    "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n"
    "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n[9.1 - 9.9]\tSes01F_impro01_M000\tang\t[1.5, 4.0, 4.5]\nC-E2:\tAnger;\t()\n"
)


@FUZZ
@given(labels=EDITS, spoken=EDITS)
def test_iemocap(labels: list, spoken: list) -> None:
    with folder() as root:
        wavs = "Session1/sentences/wav/Ses01F_impro01"
        touch(root, *(f"{wavs}/Ses01F_impro01_{turn}.wav" for turn in ("F000", "M000", "M001")), f"{wavs}/._x.wav")
        dialog = root / "Session1" / "dialog"
        (dialog / "EmoEvaluation").mkdir(parents=True)
        (dialog / "transcriptions").mkdir()
        (dialog / "EmoEvaluation" / "Ses01F_impro01.txt").write_bytes(edited(TURNS.encode(), labels))
        text = b"Ses01F_impro01_F000 [006.29-008.23]: Excuse me.\nM: x\n"
        (dialog / "transcriptions" / "Ses01F_impro01.txt").write_bytes(edited(text, spoken))
        found = opened(root, "iemocap")
        if found is not None:
            accounts_for(found, sounds(root))


MELD = "Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n"
PODCAST = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n"


@FUZZ
@given(labels=EDITS)
def test_meld(labels: list) -> None:
    rows = '1,"Hi, you",Joey,joy,positive,0,0,1,2,"00:16:16,059","00:16:21,731"\n2,No,Ross,anger,negative,0,1,1,2,"0:16:16,1","0:16:17,2"\n'
    with folder() as root:
        touch(
            root,
            *(f"train_splits/dia0_utt{n}.wav" for n in (0, 1, 2)),
            "train_splits/._dia0_utt0.wav",
            "train_splits/x.wav",
        )
        (root / "train_sent_emo.csv").write_bytes(edited((MELD + rows).encode(), labels))
        found = opened(root, "meld")
        if found is not None:
            accounts_for(found, sounds(root))


@FUZZ
@given(labels=EDITS, detailed=EDITS)
def test_msp_podcast(labels: list, detailed: list) -> None:
    names = [f"MSP-PODCAST_0001_000{n}.wav" for n in range(4)]
    rows = "".join(f"{name},{code},2.2,4.0,2.6,30,Male,Test1\n" for name, code in zip(names[:3], "NAX", strict=True))
    votes = "FileName,EmoDetail\n" + f"{names[0]},WORKER00000001; Happy; Happy,Amused; A:5; V:6; D:4;\n"
    with folder() as root:
        touch(root, *(f"Audios/{name}" for name in names), f"Audios/._{names[0]}")
        (root / "Labels").mkdir()
        (root / "Labels" / "labels_consensus.csv").write_bytes(edited((PODCAST + rows).encode(), labels))
        (root / "Labels" / "labels_detailed.csv").write_bytes(edited(votes.encode(), detailed))
        found = opened(root, "msp-podcast")
        if found is not None:
            accounts_for(found, sounds(root))


@settings(FUZZ, max_examples=10)
@given(yaml=EDITS, table=EDITS)
def test_audformat(yaml: list, table: list) -> None:
    audformat = pytest.importorskip("audformat", reason="skipped: the package audformat is not installed")
    with folder() as root:
        touch(root, "a.wav", "b.wav")
        db = audformat.Database("x", source="x", usage=audformat.define.Usage.RESEARCH)
        db.schemes["emotion"] = audformat.Scheme(labels=["anger", "sadness"])
        db["labels"] = audformat.Table(audformat.filewise_index(["a.wav", "b.wav", "c.wav"]))
        db["labels"]["emotion"] = audformat.Column(scheme_id="emotion")
        db["labels"]["emotion"].set(["anger", None, "sadness"])
        db.save(str(root), storage_format="csv")
        for name, edits in (("db.yaml", yaml), ("db.labels.csv", table)):
            (root / name).write_bytes(edited((root / name).read_bytes(), edits))
        found = opened(root, "audformat")
        if found is not None and not yaml and not table:
            assert (len(found), len(found.lost)) == (1, 2)


cells = st.one_of(st.none(), st.fixed_dictionaries({"bytes": st.binary(max_size=8), "path": st.just("a.wav")}))


@settings(FUZZ, max_examples=10)
@given(audio=st.lists(cells, min_size=1, max_size=4), word=st.one_of(st.none(), st.text(max_size=4), st.just("angry")))
def test_hugging_face_datasets(audio: list, word: str | None) -> None:
    datasets = pytest.importorskip("datasets", reason="skipped: the package datasets is not installed")
    kinds = {
        "audio": {"bytes": datasets.Value("binary"), "path": datasets.Value("string")},
        "emotion": datasets.Value("string"),
    }
    with folder() as root:
        touch(root, "a.wav")
        frame = datasets.Dataset.from_dict(
            {"audio": audio, "emotion": [word] * len(audio)}, features=datasets.Features(kinds)
        )
        frame.cast_column("audio", datasets.Audio(decode=False)).save_to_disk(root / NAME)
        found = opened(root, "datasets", root / NAME, cache=root / "cache")
        if found is not None:
            assert len(found) + len(found.lost) == len(audio)


def test_every_reader_is_fuzzed() -> None:
    here = Path(__file__).read_text(encoding="utf-8")
    assert all(f'"{corpus}"' in here for corpus in READERS)
