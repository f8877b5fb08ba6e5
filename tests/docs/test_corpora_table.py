"""The table of docs/corpora.md says what the program says."""

from __future__ import annotations

import re
from pathlib import Path

from emoscope.corpora import list_corpora
from emoscope.corpora.named import GRAMMARS
from emoscope.emotions import CORPORA

PAGE = (Path(__file__).parents[2] / "docs" / "corpora.md").read_text(encoding="utf-8")
ROWS = {row[0]: row for row in re.findall(r"^\| `([\w-]+)` " + 7 * r"\| (.*?) ?" + r"\|$", PAGE, re.MULTILINE)}
OWN = {"folder", "table", "emobox", "datasets", "audformat"}


def test_every_corpus_has_its_row() -> None:
    infos = {info.id: info for info in list_corpora() if info.id in CORPORA and info.id not in OWN}
    assert set(ROWS) == set(infos)
    for name, (_, title, language, licence, speakers, clips, file, audio) in ROWS.items():
        info = infos[name]
        assert (title, language, licence) == (info.title, info.language, info.licence)
        assert speakers == str(info.expected.get("speakers", ""))
        assert clips == (f"{info.expected['clips']:,}" if "clips" in info.expected else "")
        assert audio == ("yes" if info.may_embed_audio else "no")
        assert file == f"`{GRAMMARS[name].example}`" if name in GRAMMARS else file.startswith("[below](#")


def test_every_reader_has_its_section() -> None:
    for name in OWN:
        (anchor,) = re.findall(rf"^\| \[`{name}`\]\(#([\w-]+)\)", PAGE, re.MULTILINE)
        headings = {re.sub(r"\s+", "-", heading.lower()) for heading in re.findall(r"^## (.+)$", PAGE, re.MULTILINE)}
        assert anchor in headings
