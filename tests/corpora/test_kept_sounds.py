from __future__ import annotations

from pathlib import Path

import numpy as np
import polars
import pytest

from emoscope.corpora import load_audio, open_corpus
from emoscope.corpora.table import keep_samples, samples_of

TONE = np.sin(2 * np.pi * 220 * np.arange(8_000) / 8_000)


@pytest.mark.parametrize(
    "samples",
    [TONE, TONE.astype("float32"), (TONE * 32767).astype("int16"), np.stack([TONE, TONE]), np.stack([TONE, TONE], 1),
     TONE.tolist()],
    ids=["float64", "float32", "int16", "channel, time", "time, channel", "list"],
)  # fmt: skip
def test_samples_are_heard_like_a_file(tmp_path: Path, samples) -> None:
    wave = load_audio(keep_samples((samples, 8_000), tmp_path))
    assert len(wave) == 16_000
    assert np.sqrt(np.mean(wave**2)) == pytest.approx(0.05, rel=0.01)


def test_equal_samples_are_one_file(tmp_path: Path) -> None:
    files = {keep_samples(sound, tmp_path) for sound in ((TONE, 8_000), {"array": TONE, "sampling_rate": 8_000})}
    assert len(files) == 1
    assert keep_samples((TONE, 16_000), tmp_path) not in files


@pytest.mark.parametrize(
    ("sound", "said"),
    [
        ((8_000, TONE), "rate first"),
        ((TONE, 0), "no sampling rate"),
        ((TONE, 8_000.5), "no sampling rate"),
        (TONE, "give a file, or"),
        ((np.zeros((2, 2, 2)), 8_000), "no sound"),
        ((np.array(["a"]), 8_000), "no sound"),
        ((TONE * 32767, 8_000), "full scale 1"),
        ({"array": TONE}, "no sampling rate"),
    ],
)
def test_what_is_no_sound_is_named(sound, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        samples_of(sound)


def test_tables_in_memory(tmp_path: Path, sound) -> None:
    for name in ("1", "2"):
        sound(tmp_path / f"{name}.wav")
    rows = [{"path": f"{n}.wav", "emotion": word, "who": f"s{n}", "age": age}
            for n, word, age in ((1, "angry", 31), (2, "joy", None))]  # fmt: skip
    pandas = pytest.importorskip("pandas", reason="skipped: pandas is not installed")
    for table in (rows, polars.DataFrame(rows), polars.LazyFrame(rows), pandas.DataFrame(rows)):
        corpus = open_corpus(table, columns={"speaker": "who"}, audio_root=tmp_path)
        assert [(c.id, c.speaker, c.labels) for c in corpus] == [
            ("1", "s1", {"emotion": "anger", "age": "31"}), ("2", "s2", {"emotion": "happiness"}),
        ]  # fmt: skip
    for wrong in ([], 3, [1], {"path": ["a"]}):
        with pytest.raises(ValueError, match="give a file, a polars or pandas frame, or a list of dictionaries"):
            open_corpus(wrong)


def test_rows_may_hold_samples(tmp_path: Path) -> None:
    rows = [{"audio": (TONE, 8_000), "emotion": "anger"}, {"audio": {"array": TONE[:4000], "sampling_rate": 8_000}, "emotion": "joy"}]  # fmt: skip
    corpus = open_corpus(rows, cache=tmp_path)
    assert [(clip.id, clip.path.parent) for clip in corpus] == [("000000", tmp_path), ("000001", tmp_path)]
    assert corpus.summary()["seconds"] == [1.0, 0.5]
    tuples = polars.Series("audio", [(TONE, 8_000), (TONE[:4000], 8_000)], dtype=polars.Object)
    records = polars.Series("audio", [{"array": part.tolist(), "sampling_rate": 8_000} for part in (TONE, TONE[:4000])])
    for column in (tuples, records):
        again = open_corpus(polars.DataFrame([column, polars.Series("emotion", ["anger", "joy"])]), cache=tmp_path)
        assert [(clip.id, clip.path) for clip in again] == [(clip.id, clip.path) for clip in corpus]
    with pytest.raises(ValueError, match=r"row 1 of rows: .*rate first"):
        open_corpus([{"audio": (8_000, TONE), "emotion": "anger"}], cache=tmp_path)
