from __future__ import annotations

import json
from pathlib import Path

import polars
import pytest

from emoscope.cli import corpus_check


def test_a_check_takes_the_options_of_a_study(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from emoscope.corpora import polish_folder

    rows = [
        f"{file.name}|{file.name[3]}|{file.name[:2]}|{file.stem[-1]}"
        for file in sorted(polish_folder().glob("*_nie_[123].flac"))
    ]
    table = tmp_path / "t.csv"
    table.write_text("file|mood|who|session\n" + "\n".join(rows))
    code = corpus_check(
        str(table), columns="path=file,emotion=mood,speaker=who", audio_root=polish_folder(), labels="a=anger,s=fear,n=calm",
        where=("session=1, 3", "speaker=1-3"), merge=("rest=fear,calm",), emotions="anger,rest", as_json=True,
        export=tmp_path / "statuses.csv",
    )  # fmt: skip
    summary = json.loads(capsys.readouterr().out)
    assert (code, summary["by_emotion"], summary["by_session"]) == (0, {"anger": 6, "rest": 12}, {"1": 9, "3": 9})
    statuses = polars.read_csv(tmp_path / "statuses.csv", infer_schema=False)
    assert statuses["status"].value_counts(sort=True).rows() == [("excluded", 27), ("used", 18)]
    with pytest.raises(ValueError, match="--where 'speaker' names no value"):
        corpus_check("polish", where=("speaker",))
    with pytest.raises(ValueError, match="--where names 'take' twice \\('1' and '2'\\): give it once, with all values"):
        corpus_check("polish", where=("take=1", "take=2"))
    with pytest.raises(ValueError, match="--merge names 'rest' twice"):
        corpus_check("polish", merge=("rest=fear", "rest=anger"))


def test_what_is_told_of_a_corpus_is_said_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from emoscope.corpora import polish_folder

    rows = [f"{name},{mood},{who}" for name, mood, who in (
        ("m1.a_nie_1.flac", "anger", "m1"), ("m2.n_nie_1.flac", "neutral", "m2"), ("m3.n_nie_1.flac", "neutral", ""),
    )]  # fmt: skip
    (tmp_path / "t.csv").write_text("path,emotion,speaker\n" + "\n".join(rows))
    corpus_check(str(tmp_path / "t.csv"), audio_root=polish_folder(), html=tmp_path / "page.html")
    for text in (capsys.readouterr().out, (tmp_path / "page.html").read_text(encoding="utf-8")):
        assert " ".join(text.split()).count("1 of 3 clips has no speaker and is left out") == 1
