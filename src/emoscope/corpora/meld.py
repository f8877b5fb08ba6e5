"""MELD (Friends) as it is shipped: a label file and a folder of videos per split, or sound copies of the videos."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from emoscope.corpora.clip import LISTED, NOT_FOUND, Clip, CorpusInfo, Lost, seconds_of
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import CLIPS, all_files, existing_folder, grouped, readable_name
from emoscope.corpora.rows import Fates
from emoscope.corpora.sources import REMEDY, is_video, unread
from emoscope.corpora.text_tables import Row, TextTable
from emoscope.emotions import UnknownEmotion, canonical

SIX = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")
OTHERS = "all others"
"""Value of the column ``character`` for everyone but the six."""


@dataclass(frozen=True)
class Part:
    """One split: its name in ids and in label files, and the folders that hold its media."""

    name: str
    short: str
    folder: str
    missing: frozenset[tuple[int, int]] = frozenset()

    @property
    def labels(self) -> str:
        """Name of the label file."""
        return f"{self.short}_sent_emo.csv"

    def holds(self, folder: str) -> bool:
        """Whether a folder of this name holds the split's media: as shipped, or a copy beside (``dev_wav``)."""
        return folder.startswith(self.folder) or bool(
            re.fullmatch(rf"{self.short}([_-](wav|flac|mp3|audio).*)?", folder)
        )


PARTS = (
    Part("train", "train", "train_splits", frozenset({(125, 3)})),
    Part("development", "dev", "dev_splits_complete", frozenset({(110, 7)})),
    Part("test", "test", "output_repeated_splits_test"),
)
"""The splits; ``missing`` are (dialogue, utterance) of clips that the release itself lacks or holds broken."""

COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
OPTIONAL = ("Season", "Episode", "StartTime", "EndTime")
NAME = re.compile(r"dia(\d+)_utt(\d+)")
FINAL = "a final_videos_test copy, which the maintainers of MELD say to ignore"


def open_meld(root: str | Path | None, audio_root: str | Path | None = None) -> Corpus:
    """Open MELD.

    Dialogue and utterance numbers restart in every split, so that a clip is ``train_dia0_utt0``, ``dev_dia0_utt0``
    or ``test_dia0_utt0``. Labels: emotion, sentiment, character (one of the six, or "all others"), season, episode,
    dialogue, and listed_s (seconds between the start and the end that the row gives; some videos last longer). The
    speaker is the character's name as it is listed; the session is season and episode.

    Where a clip has a sound file and a video, the sound file is read. Excluded: videos without a row,
    ``final_videos_test`` copies, further files of a clip, rows that repeat a clip or are not complete. Quarantined:
    rows without a file, and videos where PyAV (the extra ``video``) is not installed.

    Args:
        root: the folder ``MELD.Raw`` with the three label files and media folders, two folders deep at most.
        audio_root: where the media folders are, if not under ``root``.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no label file of MELD.
        ValueError: no root is given, a label file lacks a column, or no clip can be used.
    """
    folder = existing_folder(root, "meld")
    media = folder if audio_root is None else existing_folder(audio_root, "meld")
    tables = {
        part.name: next((p for p in _near(folder) if p.name == part.labels and p.is_file()), None) for part in PARTS
    }
    if not any(tables.values()):
        names = ", ".join(part.labels for part in PARTS)
        raise FileNotFoundError(
            f"{folder} holds no label file of MELD ({names}): give the folder in which MELD was unpacked"
        )
    there = all_files(media)
    fates = Fates(lost=list(there.lost))
    lost = fates.lost
    seen: set[Path] = set()
    told: list[str] = list(there.told(media))
    for part in PARTS:
        files = _files(part, media, lost, seen)
        for number, clip, key, why in _rows(part, tables[part.name], lost, told):
            missing: str | None = f"{NOT_FOUND} (the release lacks it)" if key in part.missing else NOT_FOUND
            if paths := files.pop(key, []):
                clip, missing = replace(clip, path=paths[0]), unread(paths[0])
                also = f"another file of a clip that is read (of {paths[0].name})"
                lost += [Lost(clip.id, other, "excluded", also) for other in paths[1:]]
            fates.add(clip, why, missing, f"row {number} of {part.labels} repeats this clip")
        for (dialogue, utterance), paths in files.items():
            why = f"no row in {part.labels}" if tables[part.name] else f"{part.labels} is not there"
            lost += [Lost(f"{part.short}_dia{dialogue}_utt{utterance}", path, "excluded", why) for path in paths]
    lost += [Lost(path.stem, path, "excluded", "in no folder of a split") for path in there.files if path not in seen]
    if not fates.clips:
        raise ValueError(f"no clip of MELD under {folder} can be used: {_reason(lost)}")
    return fates.corpus(CorpusInfo.of("meld"), told)


def _reason(lost: list[Lost]) -> str:
    whys = [one.why for one in lost]
    if needed := next((why for why in whys if why.endswith(REMEDY)), None):
        return needed
    if any(one.fate == "quarantined" for one in lost):
        folders = ", ".join(part.folder for part in PARTS)
        return f"its media ({folders}) are not there; give their folder with audio_root"
    return whys[0] if whys else "its label files have no rows"


def _near(folder: Path) -> Iterator[Path]:
    """What is in a folder and in two levels of folders below, nearest first."""
    level = [folder]
    for _ in range(3):
        inside = [path for place in level for path in sorted(place.iterdir()) if not path.name.startswith(".")]
        yield from inside
        # media folders hold thousands of files and nothing else
        level = [path for path in inside if path.is_dir() and not any(part.folder in path.name for part in PARTS)]


def _files(part: Part, root: Path, lost: list[Lost], seen: set[Path]) -> dict[tuple[int, int], list[Path]]:
    """(Dialogue, utterance) -> its files, sound files first; other files go to ``lost``."""
    found: list[tuple[tuple[int, int], Path]] = []
    for folder in (path for path in _near(root) if path.is_dir() and part.holds(path.name)):
        for path in (folder / name for name in sorted(os.listdir(folder))):
            if path.suffix.lower() not in CLIPS or path.is_dir() or path.name.startswith("._"):
                continue
            if readable_name(path) != str(path):
                continue
            seen.add(path)
            if match := NAME.fullmatch(path.stem):
                found.append(((int(match[1]), int(match[2])), path))
            else:
                final = path.name.startswith("final_videos_test")
                why = FINAL if final else f"name does not follow {NAME.pattern} (meld)"
                lost.append(Lost(f"{part.short}_{path.stem}", path, "excluded", why))
    by_key = grouped(found, lambda one: one[0])
    return {key: sorted((path for _, path in same), key=is_video) for key, same in by_key.items()}


def _rows(
    part: Part, file: Path | None, lost: list[Lost], told: list[str]
) -> Iterator[tuple[int, Clip, tuple[int, int], str | None]]:
    """Every row by its number as a clip, its (dialogue, utterance), and the reason for which it is excluded, if any."""
    if file is None:
        return
    table = TextTable(file, COLUMNS)
    told += table.told
    for number, row in enumerate(table.rows(COLUMNS, optional=OPTIONAL), start=1):
        numbers = [row[name] for name in ("dialogue_id", "utterance_id")] if isinstance(row, dict) else []
        if isinstance(row, Row) or not all(text.isdecimal() for text in numbers):
            why = row.fault if isinstance(row, Row) else "row has no dialogue and utterance number"
            lost.append(Lost(f"{part.labels} row {number}", file, "excluded", why))
            continue
        key = (int(numbers[0]), int(numbers[1]))
        clip, why_not = _clip(part, key, row)
        yield number, clip, key, why_not


def _clip(part: Part, key: tuple[int, int], row: dict[str, str]) -> tuple[Clip, str | None]:
    name, why = f"dia{key[0]}_utt{key[1]}", None
    labels: dict[str, str] = {}
    try:
        labels["emotion"] = canonical(row["emotion"])
    except UnknownEmotion as error:
        why = str(error) if row["emotion"] else "no emotion is given"
    speaker = " ".join(row["speaker"].split())
    speaker = next((one for one in SIX if one.lower() == speaker.lower()), speaker)
    season, episode = row["season"], row["episode"]
    labels |= {"sentiment": row["sentiment"].lower(), "character": speaker if speaker in SIX else OTHERS}
    labels |= {column: row[column] for column in ("season", "episode") if row[column]}
    labels["dialogue"] = f"{part.short}_dia{key[0]}"
    start, end = seconds_of(row["starttime"].strip()), seconds_of(row["endtime"].strip())
    if start is not None and end is not None and end > start:
        labels[LISTED] = f"{end - start:.3f}"
    session = f"season {season} episode {episode}" if season and episode else None
    path, spoken = Path(part.folder, f"{name}.mp4"), row["utterance"] or None
    return Clip(f"{part.short}_{name}", path, labels, speaker or None, session, part.name, spoken), why
