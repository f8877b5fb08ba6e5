"""MSP-Podcast as its licence holder ships it: consensus labels, single ratings where present, and a folder of wavs."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from emoscope.corpora.clip import Clip, CorpusInfo, Lost
from emoscope.corpora.copies import choose_copy
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.fates import Fates
from emoscope.corpora.files import Found, all_files, existing_folder
from emoscope.corpora.msp_votes import shares
from emoscope.corpora.ratings import with_thirds
from emoscope.corpora.text_tables import Row, TextTable
from emoscope.emotions import CODES

INFO = CorpusInfo(
    "msp-podcast",
    "MSP-Podcast",
    licence="by signed licence; not redistributable",
    citation="Lotfian and Busso 2019, IEEE Transactions on Affective Computing 10(4)",
    language="English",
    url="https://ecs.utdallas.edu/research/researchlabs/msp-lab/MSP-Podcast.html",
)

RELEASES = {
    "1.8": {"train": 44_879, "development": 7_800, "test1": 15_326, "test2": 5_037},
    "1.10": {"train": 63_076, "development": 10_999, "test1": 16_903, "test2": 13_289},
    "1.11": {"train": 84_030, "development": 19_815, "test1": 30_647, "test2": 14_815},
}
"""Release -> labelled clips per split, as papers that use it give them (not checked against copies of the releases).

Other releases are not compared."""

LABEL_FOLDERS = ("labels", "label")
LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv")
AUDIO_FOLDERS = ("audios", "audio")
SPLITS = {"validation": "development", "dev": "development"}
"""Names of a split in some releases -> the name here."""

COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
RATED = {"emoact": "activation", "emoval": "valence", "emodom": "dominance"}
LEFT_OUT = {"X": "no agreement among the raters (X)", "O": "labelled other (O)"}
WITHHELD = "the release withholds the labels of Test3"


def open_msp_podcast(
    root: str | Path | None,
    audio_root: str | Path | None = None,
    all_codes: bool = False,
    release: str | None = None,
) -> Corpus:
    """Open MSP-Podcast.

    Labels: emotion, code (the original), gender, activation, valence, dominance (means of the raters, 1 to 7), their
    thirds over all clips, such as activation_third (low, mid, high), and, where ``labels_detailed.csv`` is there,
    raters (how many chose a class), agreement (the share of them that chose the consensus) and share_anger and so on.
    Speaker and gender "Unknown" are none. The session is the podcast. Splits: train, development (also where the
    release says Validation), test1, test2, test3.
    Clips labelled X or O, and clips without a label (Test3), are excluded; a row without its file is quarantined.

    Args:
        root: the release's folder, or the folder that holds it.
        audio_root: where the sound files are, if not in ``Audios`` or ``Audio`` beside the labels.
        all_codes: keep the clips labelled O (emotion "other") and X (no emotion) in use.
        release: with what to compare counts, such as "1.11"; by default what the folder's name says.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no label file or no sound folder.
        ValueError: no root is given, the label file lacks a column, or no clip can be used.
    """
    folder = existing_folder(root, "msp-podcast")
    table = _table(folder)
    fates = Fates()
    audio = _audio(table, audio_root)
    found = all_files(audio)
    fates.lost += found.lost
    files = _files(found, audio, fates.lost)
    if audio_root is None:
        beside = [path for path in all_files(table.parent.parent).files if not path.is_relative_to(audio)]
        fates.lost += [Lost(path.stem, path, "excluded", f"outside the folder {audio.name}") for path in beside]
    detailed = table.with_name("labels_detailed.csv")
    soft = shares(detailed) if detailed.is_file() else {}
    labels = TextTable(table, COLUMNS)
    for clip, why in _rows(labels, files, soft, fates.lost):
        kept = all_codes and clip.labels.get("code") in LEFT_OUT
        fates.add(clip, None if kept else why, clip.id in files)
    for name in sorted(files.keys() - fates.named):
        why = WITHHELD if "test3" in name.lower() else f"no row in {table.name} (labels of Test3 are withheld)"
        fates.lost.append(Lost(name, files[name], "excluded", why))
    if not fates.clips:
        why = fates.lost[0].why if fates.lost else "no rows"
        raise ValueError(f"no clip of MSP-Podcast under {folder} can be used: {why}")
    info = replace(INFO, expected=_expected(release, folder, table))
    told = (*found.told(audio), *labels.told)
    return with_thirds(Corpus(info, tuple(fates.clips.values()), tuple(fates.lost), told))


def _table(folder: Path) -> Path:
    places = [folder, *sorted(path for path in folder.iterdir() if path.is_dir())]
    for place in places:
        inside = [path for path in sorted(place.iterdir()) if path.name.lower() in LABEL_FOLDERS and path.is_dir()]
        for name in LABEL_FILES:
            for holder in (*inside, place):
                if (holder / name).is_file():
                    return holder / name
    raise FileNotFoundError(
        f"{folder} holds no Labels/{LABEL_FILES[0]} (in older releases {LABEL_FILES[1]}): give the folder in which "
        "MSP-Podcast was unpacked"
    )


def _audio(table: Path, audio_root: str | Path | None) -> Path:
    if audio_root is not None:
        return existing_folder(audio_root, "msp-podcast")
    for place in (table.parent.parent, table.parent):
        for name in AUDIO_FOLDERS:
            for path in sorted(place.iterdir()):
                if path.is_dir() and path.name.lower() == name:
                    return path
    raise FileNotFoundError(f"there is no folder Audios or Audio beside {table.parent}: give it with audio_root")


def _files(found: Found, folder: Path, lost: list[Lost]) -> dict[str, Path]:
    """Clip id -> its sound file, in any depth: some copies hold ``Audios/Audios``."""
    same: dict[str, list[Path]] = {}
    for path in found.files:
        same.setdefault(path.stem, []).append(path)
    files: dict[str, Path] = {}
    for stem, paths in same.items():
        files[stem], others = choose_copy(paths, folder)
        lost += [Lost(stem, path, "excluded", why) for path, why in others.items()]
    return files


def _rows(
    labels: TextTable, files: Mapping[str, Path], soft: Mapping[str, dict[str, str]], lost: list[Lost]
) -> Iterator[tuple[Clip, str | None]]:
    """Every row as a clip with the reason for which it is excluded, if any; rows that make no sense go to ``lost``."""
    table = labels.file
    for number, row in enumerate(labels.rows(COLUMNS), start=1):
        if isinstance(row, Row) or not row["filename"]:
            why = row.fault if isinstance(row, Row) else "row names no file"
            lost.append(Lost(f"{table.name} row {number}", table, "excluded", why))
        else:
            name = os.path.splitext(row["filename"])[0]
            yield _clip(name, files.get(name) or table.parent / row["filename"], row, soft.get(name))


def _clip(name: str, path: Path, row: dict[str, str], soft: dict[str, str] | None) -> tuple[Clip, str | None]:
    code, split = row["emoclass"], row["split_set"].lower()
    emotion = CODES["msp-podcast"].get(code)
    labels = {"emotion": emotion} if emotion else {}
    labels |= {"code": code} if code else {}
    if row["gender"].lower() not in ("", "unknown"):
        labels["gender"] = row["gender"].lower()
    labels |= {name: row[column] for column, name in RATED.items() if row[column]}
    why = LEFT_OUT.get(code) or (None if emotion else f"code {code!r} is not known")
    if not code:
        why = WITHHELD if split == "test3" else "no emotion is given"
    if soft:
        own = soft.get(f"share_{emotion}")
        labels |= soft | ({"agreement": own} if own else {})
    podcast = re.search(r"_(\d+)_\d+", name)
    return Clip(
        name,
        path,
        labels,
        speaker=None if row["spkrid"].lower() in ("", "unknown") else row["spkrid"],
        session=podcast[1] if podcast else None,
        split=SPLITS.get(split, split) or None,
    ), why


def _expected(release: str | None, folder: Path, table: Path) -> dict[str, int]:
    if release is not None and release not in RELEASES:
        raise ValueError(f"release {release!r} of MSP-Podcast: counts are known of {', '.join(RELEASES)}; leave it out")
    named = [
        re.search(r"(?<![\d.])(\d\.\d+)(?![\d.])", path.name) for path in (folder, table.parent, table.parent.parent)
    ]
    which = release or next((found[1] for found in named if found and found[1] in RELEASES), None)
    return {f"split={name}": count for name, count in RELEASES.get(which or "", {}).items()}
