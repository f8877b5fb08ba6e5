"""The kinds of files that a user opens: how a good one is written, how it is read, and which changes do no harm."""

from __future__ import annotations

import csv
import io
import json
import struct
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from random import Random
from typing import Any

import av
import numpy as np
import polars
import soundfile

from emoscope.corpora import Corpus, load_audio, open_corpus
from emoscope.corpora.audio import AudioError, hear
from emoscope.experiments.schema import Study
from emoscope.experiments.study import read_study, to_toml

NAME = "kiosk"
"""Name of the folder in which every input lies: whatever is refused is named in the message."""

Edit = Callable[[bytes, Random], bytes]


@dataclass(frozen=True)
class Kind:
    """One kind of input.

    Attributes:
        name: group and format, such as ``sound/wav``.
        file: the file that is changed, within the folder.
        write: writes the good input into an empty folder.
        read: opens it as a user would and gives a value that can be compared.
        harmless: changes of the file's bytes after which the same value must be read.
        tokens: words of the format.
        around: changes of what stands around the file, after which the same value must be read.
    """

    name: str
    file: str
    write: Callable[[Path], None]
    read: Callable[[Path], Any]
    harmless: tuple[Edit, ...] = ()
    tokens: tuple[bytes, ...] = ()
    around: tuple[Callable[[Path, Random], None], ...] = ()

    @property
    def group(self) -> str:
        """What the table of results counts together."""
        return self.name.split("/")[0]


# Sound.

RATE, SECONDS = 24_000, 0.4


def voice(seconds: float = SECONDS, rate: int = RATE, seed: int = 1) -> np.ndarray:
    """A tone with overtones and a little noise (time,)."""
    time = np.arange(round(seconds * rate)) / rate
    tone = sum(np.sin(2 * np.pi * 140 * k * time + k) / k for k in range(1, 8))
    return (0.08 * tone + 0.005 * np.random.default_rng(seed).normal(size=len(time))).astype(np.float32)


def _sound(name: str, folder: Path, channels: int = 1, **how: Any) -> None:
    soundfile.write(folder / name, np.stack([voice()] * channels, 1), RATE, **how)


def _film(name: str, folder: Path) -> None:
    with av.open(str(folder / name), "w") as container:
        track = container.add_stream("libopus" if name.endswith(".webm") else "aac", rate=48_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(voice(rate=48_000)[None], format="fltp", layout="mono")
        frame.rate = 48_000
        resampler = av.AudioResampler(
            format=track.format.name, layout="mono", rate=48_000, frame_size=track.frame_size or 960
        )
        for part in (*resampler.resample(frame), *resampler.resample(None)):
            container.mux(track.encode(part))
        container.mux(track.encode())


def _hear(name: str, folder: Path) -> Any:
    path = folder / name
    try:
        facts = hear(path)
    except AudioError as error:
        try:
            load_audio(path)
        except AudioError as other:
            if other.reason != error.reason:
                raise AssertionError(f"probe says {error.reason!r}, load {other.reason!r}") from error
            raise
        raise AssertionError(f"probe refuses what load takes: {error.reason}") from error
    samples = load_audio(path)
    length = len(samples) / 16_000
    if abs(length - facts.duration_s) > max(0.1, 0.02 * length):
        raise AssertionError(f"probe says {facts.duration_s:.2f} s, load gives {length:.2f} s")
    level = float(np.sqrt(np.mean(np.square(samples, dtype="f8"))))
    if not np.isfinite(samples).all() or np.abs(samples).max() > 1:
        raise AssertionError("samples out of range")
    if not 0.05 / 1.06 < level < 0.05 * 1.06:
        raise AssertionError(f"level {level:.4f} is not 0.05 within 0.5 dB")
    return samples.tobytes(), facts.rate, facts.channels


def _chunk(tag: bytes, data: bytes, order: str = "<") -> bytes:
    return tag + struct.pack(f"{order}I", len(data)) + data + b"\0" * (len(data) % 2)


def _some(random: Random) -> bytes:
    return random.randbytes(random.choice((0, 1, 28, 602, 5_000)))


def _riff(data: bytes, body: bytes) -> bytes:
    return data[:4] + struct.pack("<I", len(body)) + body


def _wav_chunk_before(data: bytes, random: Random) -> bytes:
    at = data.index(b"data")
    more = _chunk(random.choice((b"LIST", b"JUNK", b"bext", b"id3 ")), b"INFO" + _some(random))
    return _riff(data, data[8:at] + more + data[at:])


def _wav_chunk_after(data: bytes, random: Random) -> bytes:
    return _riff(data, data[8:] + _chunk(random.choice((b"LIST", b"JUNK", b"_PMX")), b"INFO" + _some(random)))


def _wav_piped(data: bytes, random: Random) -> bytes:
    at = data.index(b"data") + 4
    return data[:4] + b"\xff" * 4 + data[8:at] + b"\xff" * 4 + data[at + 4 :]


def _wav_no_size(data: bytes, random: Random) -> bytes:
    at = data.index(b"data") + 4
    return data[:4] + bytes(4) + data[8:at] + bytes(4) + data[at + 4 :]


def _aiff_chunk(data: bytes, random: Random) -> bytes:
    body = data[8:12] + _chunk(b"ANNO", b"said at home" + _some(random), ">") + data[12:]
    return data[:4] + struct.pack(">I", len(body)) + body


def _au_note(data: bytes, random: Random) -> bytes:
    start = struct.unpack(">I", data[4:8])[0]
    note = b"a note" + bytes(10) + bytes(8 * random.randrange(20))
    return data[:4] + struct.pack(">I", start + len(note)) + data[8:start] + note + data[start:]


def _au_unknown_size(data: bytes, random: Random) -> bytes:
    return data[:8] + b"\xff" * 4 + data[12:]


def _caf_chunk(data: bytes, random: Random) -> bytes:
    at, more = data.index(b"data"), bytes(random.randrange(4, 900))
    return data[:at] + b"free" + struct.pack(">q", len(more)) + more + data[at:]


def _flac_block(data: bytes, random: Random) -> bytes:
    more = _some(random)
    if random.random() < 0.5:
        block = bytes([1]) + len(more).to_bytes(3, "big") + bytes(len(more))
    else:
        words = b"".join(struct.pack("<I", len(word)) + word for word in (b"TITLE=one", b"ARTIST=\xc3\xa9"))
        more = struct.pack("<I", 3) + b"abc" + struct.pack("<I", 2) + words
        if data[42] & 127 == 4:
            # a second block of comments is against the format
            more, kind = more, 2
            more = b"emsc" + more
        else:
            kind = 4
        block = bytes([kind]) + len(more).to_bytes(3, "big") + more
    # the first block, STREAMINFO, has 4 + 34 bytes; its flag says whether it is the last
    return data[:4] + bytes([data[4] & 127]) + data[5:42] + (bytes([block[0] | data[4] & 128]) + block[1:]) + data[42:]


def _flac_states_less(data: bytes, random: Random) -> bytes:
    stated = random.choice([0, random.randrange(1, 1000)])
    return data[:21] + bytes([data[21] & 0xF0]) + stated.to_bytes(4, "big") + data[26:]


def id3(size: int) -> bytes:
    """An ID3 tag of version 3 with a text of this size."""
    body = b"TXXX" + struct.pack(">I", size + 2) + b"\0\0\0\0" + b"x" * size
    return b"ID3\3\0\0" + bytes(len(body) >> shift & 127 for shift in (21, 14, 7, 0)) + body


def _tag_before(data: bytes, random: Random) -> bytes:
    return id3(random.choice((4, 300, 70_000))) + data


def _tag_after(data: bytes, random: Random) -> bytes:
    return data + b"TAG" + b"title".ljust(125, b"\0")


def _ogg_serial(data: bytes, random: Random) -> bytes:
    """Another serial number of the stream, with the check sums that belong to it."""
    serial, changed, start = random.randbytes(4), b"", 0
    while start < len(data):
        head = 27 + data[start + 26]
        end = start + head + sum(data[start + 27 : start + head])
        page = data[start : start + 14] + serial + data[start + 18 : start + 22] + bytes(4) + data[start + 26 : end]
        changed += page[:22] + _ogg_sum(page).to_bytes(4, "little") + page[26:]
        start = end
    return changed


def _ogg_sum(page: bytes) -> int:
    total = 0
    for byte in page:
        total ^= byte << 24
        for _ in range(8):
            total = (total << 1 ^ (0x04C11DB7 if total & 0x80000000 else 0)) & 0xFFFFFFFF
    return total


W64 = b"\xf3\xac\xd3\x11\x8c\xd1\x00\xc0\x4f\x8e\xdb\x8a"
"""What follows the four letters of a chunk's name in Sony's Wave64."""


def _w64_chunk(data: bytes, random: Random) -> bytes:
    at, more = data.index(b"data" + W64), bytes(8 * random.randrange(90))
    size = int.from_bytes(data[16:24], "little") + 24 + len(more)
    junk = b"junk" + W64 + (24 + len(more)).to_bytes(8, "little") + more
    return data[:16] + size.to_bytes(8, "little") + data[24:at] + junk + data[at:]


def _ebml_void(data: bytes, random: Random) -> bytes:
    more = random.randbytes(random.randrange(120))
    return data + b"\xec" + bytes([0x80 | len(more)]) + more


def _rf64_chunk(data: bytes, random: Random) -> bytes:
    at, more = data.index(b"data"), _chunk(b"JUNK", bytes(random.choice((28, 602, 5_000))))
    sizes = data.index(b"ds64") + 8
    riff = struct.unpack("<Q", data[sizes : sizes + 8])[0] + len(more)
    return data[:sizes] + struct.pack("<Q", riff) + data[sizes + 8 : at] + more + data[at:]


def _free_atom(data: bytes, random: Random) -> bytes:
    more = _some(random)
    return data + struct.pack(">I", len(more) + 8) + random.choice((b"free", b"skip")) + more


CHUNKS = (b"RIFF", b"data", b"fmt ", b"LIST", b"fact", b"ID3", b"OggS", b"fLaC", b"FORM", b"COMM", b"SSND", b".snd", b"caff", b"ftyp",
          b"moov", b"mdat", b"stts", b"Xing", b"Info", b"\xff\xfb", b"#EXTM3U\n", b"ffconcat version 1.0\nfile ../outside/a.wav\n")  # fmt: skip

WAV = (_wav_chunk_before, _wav_chunk_after, _wav_piped, _wav_no_size)


def _sound_kind(name: str, file: str, harmless: tuple[Edit, ...], film: bool = False, **how: Any) -> Kind:
    write = partial(_film, file) if film else partial(_sound, file, **how)
    return Kind(f"sound/{name}", file, write, partial(_hear, file), harmless, CHUNKS)


SOUNDS = (
    _sound_kind("wav", "clip.wav", WAV),
    _sound_kind("wav24", "clip.wav", WAV, channels=2, subtype="PCM_24"),
    _sound_kind("wav float", "clip.wav", WAV, subtype="FLOAT"),
    _sound_kind("wav adpcm", "clip.wav", WAV[:2], subtype="MS_ADPCM"),
    _sound_kind("flac", "clip.flac", (_flac_block, _flac_states_less, _tag_before)),
    _sound_kind("mp3", "clip.mp3", (_tag_before, _tag_after)),
    _sound_kind("vorbis", "clip.ogg", (_ogg_serial,)),
    _sound_kind("opus", "clip.opus", (_ogg_serial,), format="OGG", subtype="OPUS"),
    _sound_kind("aiff", "clip.aiff", (_aiff_chunk,)),
    _sound_kind("au", "clip.au", (_au_note, _au_unknown_size)),
    _sound_kind("w64", "clip.w64", (_w64_chunk,)),
    _sound_kind("caf", "clip.caf", (_caf_chunk,)),
    _sound_kind("rf64", "clip.wav", (_rf64_chunk,), format="RF64"),
    _sound_kind("m4a", "clip.m4a", (_free_atom,), film=True),
    _sound_kind("webm", "clip.webm", (_ebml_void,), film=True),
)  # fmt: skip


def _opened(corpus: Corpus, folder: Path) -> Any:
    frame = corpus.to_frame()
    if frame.height != len(corpus) + len(corpus.lost):
        raise AssertionError("clips are not used + lost")
    if not all(lost.why and lost.status in ("excluded", "quarantined") for lost in corpus.lost):
        raise AssertionError("a clip was lost without a reason")
    return repr(corpus.clips).replace(str(folder), ""), [(lost.id, lost.status, lost.why) for lost in corpus.lost]


def _check(folder: Path, corpus: str = "folder", **options: Any) -> Any:
    found = open_corpus(corpus, folder, **options)
    summary = found.summary()
    if summary["clips"] != summary["used"] + summary["excluded"] + summary["quarantined"]:
        raise AssertionError("clips are not used + excluded + quarantined")
    return _opened(found, folder), summary


def _folder(folder: Path) -> None:
    for number, emotion in enumerate(("anger", "joy")):
        (folder / emotion).mkdir()
        soundfile.write(folder / emotion / "s1.wav", voice(0.2, 16_000, number), 16_000)
        soundfile.write(folder / emotion / "s2.flac", voice(0.2, 16_000, number + 2), 16_000)


def _system_files(folder: Path, random: Random) -> None:
    """What file managers leave behind."""
    for name in random.sample(
        (".DS_Store", "Thumbs.db", "desktop.ini", "anger/.DS_Store", "notes.txt", "anger/README.md"), 3
    ):
        (folder / name).write_bytes(b"\0\0\0\1Bud1")


FOLDERS = (Kind("sound/folder", "anger/s1.wav", _folder, _check, WAV, CHUNKS, (_system_files,)),)

# Tables.

ROWS = [{"path": "a.wav", "emotion": "sad", "speaker": "01", "word": "x, y"}, {"path": "b.wav", "emotion": "joy", "speaker": "José", "word": "5' tall"},
        {"path": "gone.wav", "emotion": "joy", "speaker": "2", "word": "é"}, {"path": "c.wav", "emotion": "anger", "speaker": "2", "word": None}]  # fmt: skip
HEAD = tuple(ROWS[0])


def _clips(folder: Path, *names: str) -> None:
    # opening a table reads names alone
    for name in names or ("a.wav", "b.wav", "c.wav"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def _write(name: str, content: bytes, folder: Path, clips: tuple[str, ...] = ()) -> None:
    _clips(folder, *clips)
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)


def _separated(
    rows: list[dict[str, Any]],
    separator: str = ",",
    quoting: int = csv.QUOTE_MINIMAL,
    end: str = "\n",
    head: tuple[str, ...] = HEAD,
) -> str:
    out = io.StringIO()
    writer = csv.DictWriter(out, head, delimiter=separator, quoting=quoting, lineterminator=end)
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _other_table(data: bytes, random: Random, separators: str = ",") -> bytes:
    """The same rows as other programs write them."""
    head = tuple(random.sample(HEAD, len(HEAD)))
    text = _separated(
        ROWS,
        random.choice(separators),
        random.choice((csv.QUOTE_ALL, csv.QUOTE_MINIMAL)),
        random.choice(("\n", "\r\n", "\r")),
        head,
    )
    text += random.choice(("", "\n"))
    return text.encode(random.choice(("utf-8", "utf-8-sig", "utf-16", "cp1252")))


def _jsonl(random: Random | None = None) -> bytes:
    lines = []
    for row in ROWS:
        names = list(row) if random is None else random.sample(list(row), len(row))
        spread = random is not None and random.random() < 0.5
        lines.append(
            json.dumps(
                {name: row[name] for name in names}, ensure_ascii=spread, separators=(" , ", " :  ") if spread else None
            )
        )
    if random is None:
        return "\n".join(lines).encode() + b"\n"
    return (random.choice(("\n", "\r\n")).join(lines) + random.choice(("", "\n", "\n\n"))).encode(
        random.choice(("utf-8", "utf-8-sig"))
    )


def _parquet(random: Random | None = None) -> bytes:
    out = io.BytesIO()
    frame = polars.DataFrame(ROWS)
    if random is None:
        frame.write_parquet(out)
    else:
        frame.select(random.sample(HEAD, len(HEAD))).write_parquet(
            out,
            compression=random.choice(("zstd", "snappy", "uncompressed", "gzip")),
            row_group_size=random.choice((1, 2, None)),
            statistics=random.random() < 0.5,
        )
    return out.getvalue()


def _table(name: str, folder: Path) -> Any:
    return _opened(open_corpus("table", folder / name), folder)


CSV_TOKENS = (
    b'"' + b"x" * 300_000,
    b",",
    b",,",
    b'""',
    b"\t",
    b";",
    b"../outside/a.wav",
    b"/etc/passwd",
    b"a.wav",
    b"C:\\a.wav",
    b"path",
    b"emotion",
    b"\0",
)
TABLES = (
    Kind("table/csv", "t.csv", partial(_write, "t.csv", _separated(ROWS).encode()), partial(_table, "t.csv"), (partial(_other_table, separators=",;\t|"),), CSV_TOKENS),
    Kind("table/tsv", "t.tsv", partial(_write, "t.tsv", _separated(ROWS, "\t").encode()), partial(_table, "t.tsv"), (partial(_other_table, separators="\t"),), CSV_TOKENS),
    Kind("table/jsonl", "t.jsonl", partial(_write, "t.jsonl", _jsonl()), partial(_table, "t.jsonl"), (lambda data, random: _jsonl(random),), (*CSV_TOKENS, b"[[", b"}{")),
    Kind("table/parquet", "t.parquet", partial(_write, "t.parquet", _parquet()), partial(_table, "t.parquet"), (lambda data, random: _parquet(random),), (b"PAR1", b"\x15\x04")),
)  # fmt: skip

# Label lists of corpora.


def _reading(corpus: str, folder: Path) -> Any:
    return _opened(open_corpus(corpus, folder), folder)


def _eol(data: bytes, random: Random) -> bytes:
    """Other ends of lines, a byte-order mark, empty lines at the end."""
    data = data.replace(b"\n", random.choice((b"\n", b"\r\n")))
    return random.choice((b"", b"\xef\xbb\xbf")) + data.rstrip() + random.choice((b"", b"\n", b"\r\n", b"\n\n"))


def _quoted(data: bytes, random: Random) -> bytes:
    rows = list(csv.reader(io.StringIO(data.decode())))
    out = io.StringIO()
    csv.writer(out, quoting=csv.QUOTE_ALL, lineterminator=random.choice(("\n", "\r\n"))).writerows(rows)
    return out.getvalue().encode()


def _columns(data: bytes, random: Random) -> bytes:
    rows = list(csv.reader(io.StringIO(data.decode())))
    order = random.sample(range(len(rows[0])), len(rows[0]))
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([[row[i] for i in order] for row in rows])
    return out.getvalue().encode()


def _json_lines(data: bytes, random: Random) -> bytes:
    lines = [json.loads(line) for line in data.decode().splitlines()]
    return b"\n".join(other_json(json.dumps(line).encode(), random, indent=False) for line in lines)


def other_json(data: bytes, random: Random, indent: bool = True) -> bytes:
    """The same JSON with other white space, escapes and order of keys."""

    def mixed(value: Any) -> Any:
        if isinstance(value, dict):
            return {name: mixed(value[name]) for name in random.sample(list(value), len(value))}
        return [mixed(one) for one in value] if isinstance(value, list) else value

    shown = json.dumps(
        mixed(json.loads(data)),
        ensure_ascii=random.random() < 0.5,
        indent=random.choice((None, 1, "\t")) if indent else None,
    )
    return (random.choice(("", "  ", "\n")) + shown + random.choice(("", "\n", "  \n")) if indent else shown).encode()


MELD = 'Sr No.,Utterance,Speaker,Emotion,Sentiment,Dialogue_ID,Utterance_ID,Season,Episode,StartTime,EndTime\n1,"Hi, you",Joey,joy,positive,0,0,1,2,"00:16:16,059","00:16:21,731"\n2,No,Ross,anger,negative,0,1,1,2,"0:16:16,1","0:16:17,2"\n'
PODCAST = "FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n" + "".join(
    f"MSP-PODCAST_0001_000{n}.wav,{code},2.2,4.0,2.6,30,Male,Test1\n" for n, code in enumerate("NAX")
)
TURNS = (
    "% [START_TIME - END_TIME] TURN_NAME EMOTION [V, A, D]\n\n[6.2901 - 8.2357]\tSes01F_impro01_F000\tneu\t[2.5, 2.5, 2.5]\n"
    "C-E2:\tNeutral;\t()\nA-E3:\tval 3; act 2; dom  2;\t()\n\n[9.1 - 9.9]\tSes01F_impro01_M000\tang\t[1.5, 4.0, 4.5]\nC-E2:\tAnger;\t()\n"
)
ESD = "0011_000001\tOne.\tNeutral\n0011_000351\tTwo.\tAngry\n0011_001051\tThree.\tSad\n"
NEMO = "file_id\temotion\traw_text\tspeaker_id\tgender\tage\nSM0_anger_1.wav\tanger\tA b.\t SM0\tmale\t24\nSM0_fear_2.wav\tfear\tC\tSM0\tmale\t24\n"
EMOBOX = "".join(
    json.dumps({"key": f"x-{n}", "dataset": "x", "wav": f"wav/{n}.wav", "emo": emo, "spk": f"s{n}"}) + "\n"
    for n, emo in enumerate(("Happy", "Sad", "Happy"))
)
WAVS = "Session1/sentences/wav/Ses01F_impro01"


def _label_kind(
    corpus: str,
    file: str,
    content: str,
    clips: tuple[str, ...],
    harmless: tuple[Edit, ...],
    tokens: tuple[bytes, ...] = (),
) -> Kind:
    return Kind(
        f"labels/{corpus}",
        file,
        partial(_write, file, content.encode(), clips=clips),
        partial(_reading, corpus),
        harmless,
        (*CSV_TOKENS, *tokens),
    )


LABELS = (
    _label_kind("meld", "train_sent_emo.csv", MELD, tuple(f"train_splits/dia0_utt{n}.wav" for n in range(3)), (_eol, _quoted, _columns)),
    _label_kind("msp-podcast", "Labels/labels_consensus.csv", PODCAST, tuple(f"Audios/MSP-PODCAST_0001_000{n}.wav" for n in range(4)), (_eol, _quoted, _columns)),
    _label_kind("iemocap", "Session1/dialog/EmoEvaluation/Ses01F_impro01.txt", TURNS, tuple(f"{WAVS}/Ses01F_impro01_{turn}.wav" for turn in ("F000", "M000", "M001")), (_eol,), (b"[6.2 - 8]", b"neu", b"Ses01F_impro01_F000")),
    _label_kind("esd", "0011/0011.txt", ESD, ("0011/Neutral/0011_000001.wav", "0011/Angry/0011_000351.wav", "0011/Sad/0011_001051.wav"), (_eol,)),
    _label_kind("nemo", "data.tsv", NEMO, ("samples/SM0_anger_1.wav", "samples/SM0_fear_2.wav", "samples/SM0_fear_3.wav"), (_eol,)),
    _label_kind("emobox", "x.jsonl", EMOBOX, ("wav/0.wav", "wav/1.wav", "wav/2.wav"), (_eol, _json_lines), (b"{}", b"[]", b'"wav": 3')),
)  # fmt: skip

# Study files.

SHORT = """name = "mine"
seed = 7

[model]
id = "tiny"

[[corpora]]
id = "ravdess"
root = "/data/ravdess"
emotions = ["anger", "joy"]
where = { intensity = "strong", actor = [1, 2] }

[identify]
minimum = 20
budgets = [0.01, 0.05]

[headline]
selector = "mad"
budget = 0.05
"""


def _toml_notes(data: bytes, random: Random) -> bytes:
    """Comments, empty lines and indents between whole lines, another end of line, a byte-order mark."""
    lines = []
    for line in data.decode().splitlines():
        lines += random.choice(
            (
                [line],
                [line, "", "  "],
                ["# é a = [", line],
                [f"  {line}  # why"] if not line.startswith('"""') else [line],
            )
        )
    text = random.choice(("\n", "\r\n")).join(lines) + random.choice(("", "\n", "\n\n# end"))
    return text.encode(random.choice(("utf-8", "utf-8-sig")))


def _toml_other(data: bytes, random: Random) -> bytes:
    """The short study with sections in another order and values in another spelling."""
    head, *sections = SHORT.split("\n\n")
    mixed = "\n\n".join([head, *random.sample(sections, len(sections))])
    for old, new in (
        ('"tiny"', "'tiny'"),
        ("seed = 7", "seed=0x7"),
        ("[0.01, 0.05]", "[\n 1e-2,\n 0.05,\n]"),
        ('"mine"', '"""mine"""'),
        ("20", "2_0"),
        ("[model]", "[ model ]"),
    ):
        if random.random() < 0.5:
            mixed = mixed.replace(old, new)
    return mixed.encode()


def _study(folder: Path) -> Any:
    return repr(read_study(folder / "study.toml"))


TOML_TOKENS = (
    b"[model]",
    b"[[corpora]]",
    b"[corpora]",
    b"=",
    b'"""',
    b"'''",
    b"id = 3",
    b"seed = 1e9",
    b"nan",
    b"inf",
    b"1979-05-27",
    b"a.b.c = 1",
    b"[" * 5_000,
    b"\\u0000",
    b"\\x",
)
STUDIES = (
    Kind("study/short", "study.toml", partial(_write, "study.toml", SHORT.encode()), _study, (_toml_notes, _toml_other), TOML_TOKENS),
    Kind("study/whole", "study.toml", partial(_write, "study.toml", to_toml(Study()).encode()), _study, (_toml_notes,), TOML_TOKENS),
)  # fmt: skip

KINDS = (*SOUNDS, *FOLDERS, *TABLES, *LABELS, *STUDIES)
