from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import soundfile

from emoscope.corpora import open_corpus
from emoscope.report.corpus_page import MOST_ROWS, durations, emotions, write_corpus_page
from emoscope.report.theme import to_spec


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    for emotion in ("anger", "fear"):
        (tmp_path / emotion).mkdir()
        for n in range(3):
            soundfile.write(tmp_path / emotion / f"<b>{n}.wav", rng.normal(0, 0.1, 3200 + 1600 * n), 16_000)
    (tmp_path / "fear" / "broken.wav").write_bytes(b"x")
    return tmp_path


def test_the_page_loads_nothing_and_escapes_what_users_wrote(folder: Path, tmp_path: Path) -> None:
    write_corpus_page(open_corpus(folder).summary(), tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert not re.findall(r'(?:src|href)="[^#]', page)
    assert "http" not in page
    assert "<b>" not in page
    assert page.count("<svg") == 4
    for text in (
        "Can be used.",
        ". 7 clips: 6 used",
        "minutes; a clip lasts",
        "1 clip cannot be heard",
        "fear/broken",
        "not readable as audio",
    ):
        assert text in page
    ids = re.findall(r'\bid="([^"]+)"', page)
    assert len(ids) == len(set(ids))


def test_figures_are_valid_and_count_every_clip(folder: Path) -> None:
    summary = open_corpus(folder).summary()
    spec = to_spec(durations(summary), validate=True)
    (rows,) = spec["datasets"].values()
    assert sum(row["clips"] for row in rows) == 6
    summary["missing"] = ["sadness"]
    (rows,) = to_spec(emotions(summary), validate=True)["datasets"].values()
    assert {row["emotion"]: row["clips"] for row in rows} == {"anger": 3, "fear": 3, "sadness": 0}


def test_clips_of_one_length_make_one_bar(folder: Path) -> None:
    summary = open_corpus(folder).summary() | {"seconds": [1.0, 1.0], "durations": {"shortest": 1.0, "longest": 1.0}}
    (rows,) = to_spec(durations(summary))["datasets"].values()
    assert [row["clips"] for row in rows] == [2]


def test_a_corpus_without_a_usable_clip_has_a_page(folder: Path, tmp_path: Path) -> None:
    corpus = open_corpus(folder)
    summary = corpus.lose("excluded", {clip.id: "not wanted" for clip in corpus}).summary()
    write_corpus_page(summary, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "Cannot be used: no clip is left (7 excluded, 0 quarantined)" in page
    assert "<svg" not in page


def test_long_tables_are_cut_but_counted(folder: Path, tmp_path: Path) -> None:
    summary = open_corpus(folder).summary() | {"by_speaker": {f"p{n}": 2 for n in range(MOST_ROWS + 20)}}
    write_corpus_page(summary, tmp_path / "page.html")
    page = (tmp_path / "page.html").read_text()
    assert "and 20 more" in page
    assert ">40<" in page
