"""What a stored run is turned into, in a form that is the same on every machine."""

from __future__ import annotations

import hashlib
import io
import json
import re
import shutil
import zipfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import polars as pl
import vl_convert

from emoscope.schemas import OLD_FILES, renamed, tables

HERE = Path(__file__).parent
RUNS: Mapping[str, Path] = {
    "example": HERE.parents[1] / "docs" / "example-run",
    "demo": HERE / "demo.zip",
    "three-corpora": HERE / "three-corpora.zip",
}
"""Name -> where the stored answers and sets are: a folder, or one that is packed."""

STORED = ("*.parquet", "*.json", "study.toml", "sets/**/*")
TEXTS = ("**/*.tex", "**/*.svg", "**/report.html")
RELATIVE, ABSOLUTE = 1e-9, 1e-9
"""Numbers in tables may differ by so much: sums of other processors round otherwise."""

FONTS = "the machine's fonts"
LETTERED = {
    "data": {"values": [{"x": "a long word", "y": "another one"}]},
    "mark": "point",
    "config": {"font": "Helvetica Neue, Helvetica, Arial, sans-serif"},
    "encoding": {"x": {"field": "x"}, "y": {"field": "y"}, "color": {"field": "x"}},
}
"""A picture whose layout depends on the width of its words."""

NUMBER = re.compile(r"-?\d+\.\d{5,}(?:e[-+]?\d+)?")
DRAWN = re.compile(r"<svg\b.*?</svg>", re.DOTALL)
FROZEN_WORDS = {", unreliable": ", hollow", "<dt>unreliable</dt>": "<dt>hollow</dt>"}
"""Words of texts -> what stood there when they were frozen; only checksums of them are kept."""
SIZED = re.compile(r'class="scroll (?:narrow|wide)"')  # by the picture's width


@dataclass
class Outputs:
    """Tables of a run, and checksums of the texts that were made of them.

    Attributes:
        tables: path in the run folder -> table.
        texts: path -> sha256; pages without their pictures, which stand in files of their own.
    """

    tables: dict[str, pl.DataFrame] = field(default_factory=dict)
    texts: dict[str, str] = field(default_factory=dict)

    def compares_pictures(self, other: Outputs) -> bool:
        """Whether the fonts are the same: a machine with others lays out the text of pictures otherwise."""
        return self.texts.get(FONTS) == other.texts.get(FONTS)

    def differences(self, other: Outputs) -> list[str]:
        """What is not as in the other, a line each."""
        found = [f"{name}: only on one side" for name in sorted(set(self.tables) ^ set(other.tables))]
        for name in sorted(set(self.tables) & set(other.tables)):
            found += [f"{name}: {why}" for why in _unlike(self.tables[name], other.tables[name])]
        found += [f"{name}: only on one side" for name in sorted(set(self.texts) ^ set(other.texts))]
        both = sorted(set(self.texts) & set(other.texts))
        if not self.compares_pictures(other):
            both = [name for name in both if name != FONTS and not name.endswith(".svg")]
        return found + [f"{name}: other text" for name in both if self.texts[name] != other.texts[name]]

    def write(self, path: Path) -> None:
        """Pack into one file; the same outputs give the same bytes."""
        with zipfile.ZipFile(path, "w") as packed:
            for name, table in sorted(self.tables.items()):
                content = io.BytesIO()
                table.write_parquet(content, compression="zstd", compression_level=19, statistics=False)
                packed.writestr(zipfile.ZipInfo(name), content.getvalue())
            packed.writestr(zipfile.ZipInfo("texts.json"), json.dumps(self.texts, indent=1, sort_keys=True))

    @classmethod
    def read(cls, path: Path) -> Outputs:
        """What :meth:`write` packed, under today's names."""
        with zipfile.ZipFile(path) as packed:
            names = [name for name in packed.namelist() if name.endswith(".parquet")]
            found = {_today(name): pl.read_parquet(io.BytesIO(packed.read(name))) for name in names}
            texts = {_today(name): text for name, text in json.loads(packed.read("texts.json")).items()}
            return cls({name: renamed(table, Path(name).stem) for name, table in found.items()}, texts)


def unpack(run: str, to: Path) -> Path:
    """Put what is stored of a run into a folder of its own."""
    source = RUNS[run]
    if source.is_file():
        with zipfile.ZipFile(source) as packed:
            packed.extractall(to)
        return to
    for pattern in STORED:
        for path in source.glob(pattern):
            if path.is_file():
                place = to / path.relative_to(source)
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
    return to


def pack(folder: Path, to: Path) -> None:
    """Put a folder into one file; the same content gives the same bytes."""
    with zipfile.ZipFile(to, "w") as packed:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            packed.writestr(
                zipfile.ZipInfo(path.relative_to(folder).as_posix()), path.read_bytes(), zipfile.ZIP_DEFLATED
            )


def collect(folder: Path) -> Outputs:
    """The outputs that lie in a run folder, and in its parts'."""
    tables = {_name(path, folder): pl.read_parquet(path) for path in sorted(folder.rglob("tables/*.parquet"))}
    texts = {
        _name(path, folder): hashlib.sha256(settled(path.read_text(encoding="utf-8")).encode()).hexdigest()
        for path in _matching(folder, TEXTS)
    }
    return Outputs(tables, texts | {FONTS: hashlib.sha256(vl_convert.vegalite_to_svg(LETTERED).encode()).hexdigest()})


def settled(text: str) -> str:
    """A text without pictures and with its long numbers cut, so that it does not depend on how a machine rounds.

    Example:
        >>> settled("at 0.1234567891 and 2.5e-05, <svg>…</svg>")
        'at 0.1235 and 2.5e-05, '
    """
    if not text.startswith("<svg"):
        text = SIZED.sub('class="scroll"', DRAWN.sub("", text))
    for now, then in FROZEN_WORDS.items():
        text = text.replace(now, then)
    return NUMBER.sub(lambda found: f"{float(found[0]):.4g}" if float(found[0]) < 1 else f"{float(found[0]):.3f}", text)


def _today(name: str) -> str:
    """Name of an output, or of a part's, where it was frozen under that of an earlier format."""
    for now, then in OLD_FILES.items():
        if Path(now).stem in tables():
            name = re.sub(
                rf"(?<![^/]){re.escape(then.removesuffix('.parquet'))}(?=\.)", now.removesuffix(".parquet"), name
            )
    return name


def _name(path: Path, folder: Path) -> str:
    return path.relative_to(folder).as_posix()


def _matching(folder: Path, patterns: Iterable[str]) -> list[Path]:
    return sorted({path for pattern in patterns for path in folder.glob(pattern)})


def _unlike(one: pl.DataFrame, other: pl.DataFrame) -> list[str]:
    added, gone = (
        sorted(set(this.schema.items()) - set(that.schema.items()), key=str)
        for this, that in ((one, other), (other, one))
    )
    found = [
        f"column {name} ({dtype}) is {word}"
        for word, names in (("new", added), ("gone", gone))
        for name, dtype in names
    ]
    both = [name for name in one.columns if other.schema.get(name) == one.schema[name]]
    if both != [name for name in other.columns if name in both]:
        found.append("columns in another order")
    if one.height != other.height:
        return [*found, f"{one.height} rows, where {other.height} were"]
    for name in both:
        same = one[name].equals(other[name], null_equal=True)
        if not same and one[name].dtype.is_float():
            near = (one[name] - other[name]).abs() <= ABSOLUTE + RELATIVE * other[name].abs()
            same = bool((near | one[name].eq_missing(other[name])).fill_null(False).all())
        if not same:
            rows = [row for row in range(one.height) if one[name][row] != other[name][row]]
            at = rows[0] if rows else 0
            found.append(f"{name} in {len(rows)} rows, first {at}: {one[name][at]!r}, where {other[name][at]!r} was")
    return found
