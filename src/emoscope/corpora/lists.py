"""MELD and EmoBox's lists: labels that are shared apart from the sound, which is found by what they name."""

from __future__ import annotations

import json
import os
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import msgspec

from emoscope.corpora.clip import LISTED, NOT_FOUND, Clip, CorpusInfo, Lost, seconds_of, vocabulary
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import CLIPS, REMEDY, all_files, existing_folder, grouped, is_video, readable_name, unread
from emoscope.corpora.licensed import TURN_NAME
from emoscope.corpora.named import GRAMMARS
from emoscope.corpora.rows import PART, Statuses, build_corpus, folder_of_paths
from emoscope.corpora.text_tables import TextTable, json_lines, lines_of, read_text
from emoscope.emotions import CORPORA, UnknownEmotion, canonical

SIX = ("Chandler", "Joey", "Monica", "Phoebe", "Rachel", "Ross")
OTHERS = "all others"
"""Value of the column ``character`` for everyone but the six."""


class Part(NamedTuple):
    """One split, as ``data/corpora.toml`` describes it."""

    name: str
    short: str
    folder: str
    labels: str
    missing: tuple[int, int] | None = None


PARTS = msgspec.convert(CORPORA["meld"]["parts"], tuple[Part, ...])

COLUMNS = ("Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID")
OPTIONAL = ("Season", "Episode", "StartTime", "EndTime")
NAME = re.compile(r"dia(\d+)_utt(\d+)")
FINAL = "a final_videos_test copy, which the maintainers of MELD say to ignore"


def open_meld(root: str | Path | None, audio_root: str | Path | None = None) -> Corpus:
    """Open MELD; docs/corpora.md says which labels are read and what is left out.

    Dialogue and utterance numbers restart in every split, so that a clip is ``train_dia0_utt0``, ``dev_dia0_utt0`` or
    ``test_dia0_utt0``. Where it has a sound file and a video, the sound file is read.

    Args:
        root: the folder ``MELD.Raw`` with the three label files and media folders, two folders deep at most.
        audio_root: where the media folders are, if not under ``root``.
    """
    folder = existing_folder(root, "meld")
    media = folder if audio_root is None else existing_folder(audio_root, "meld")
    # the nearest file of a name is the last that is written here
    tables = {path.name: path for path in reversed(list(_near(folder))) if path.is_file()}
    names = [part.labels for part in PARTS]
    if not any(name in tables for name in names):
        remedy = "give the folder in which MELD was unpacked"
        raise FileNotFoundError(f"{folder} holds no label file of MELD ({', '.join(names)}): {remedy}")
    there = all_files(media)
    statuses = Statuses(lost=list(there.lost))
    lost = statuses.lost
    seen: set[Path] = set()
    notes: list[str] = list(there.told(media))
    for part in PARTS:
        found, table = _media(part, media, lost, seen), tables.get(part.labels)
        for number, clip, key, why in _utterances(part, table, lost, notes):
            missing: str | None = f"{NOT_FOUND} (the release lacks it)" if key == part.missing else NOT_FOUND
            if paths := found.pop(key, []):
                clip, missing = replace(clip, path=paths[0]), unread(paths[0])
                also = f"another file of a clip that is read (of {paths[0].name})"
                lost += [Lost(clip.id, path, "excluded", also) for path in paths[1:]]
            statuses.add(clip, why, missing, f"row {number} of {part.labels} repeats this clip")
        why = f"no row in {part.labels}" if table else f"{part.labels} is not there"
        for (dialogue, utterance), paths in found.items():
            lost += [Lost(f"{part.short}_dia{dialogue}_utt{utterance}", path, "excluded", why) for path in paths]
    lost += [Lost(path.stem, path, "excluded", "in no folder of a split") for path in there.files if path not in seen]
    if not statuses.clips:
        raise ValueError(f"no clip of MELD under {folder} can be used: {_reason(lost)}")
    return statuses.corpus(CorpusInfo.of("meld"), notes)


def _reason(lost: list[Lost]) -> str:
    whys = [unused.why for unused in lost]
    if needed := next((why for why in whys if why.endswith(REMEDY)), None):
        return needed
    if any(unused.status == "quarantined" for unused in lost):
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


def _media(part: Part, root: Path, lost: list[Lost], seen: set[Path]) -> dict[tuple[int, int], list[Path]]:
    """(Dialogue, utterance) -> its files, sound files first; other files go to ``lost``."""
    found: list[tuple[tuple[int, int], Path]] = []
    # as shipped, or a copy beside (dev_wav)
    holds = re.compile(rf"{part.folder}.*|{part.short}([_-](wav|flac|mp3|audio).*)?", re.DOTALL)
    for folder in (path for path in _near(root) if path.is_dir() and holds.fullmatch(path.name)):
        for path in (folder / name for name in sorted(os.listdir(folder))):
            is_clip = path.suffix.lower() in CLIPS and not path.is_dir() and not path.name.startswith("._")
            if not is_clip or readable_name(path) != str(path):
                continue
            seen.add(path)
            if match := NAME.fullmatch(path.stem):
                found.append(((int(match[1]), int(match[2])), path))
            else:
                final = path.name.startswith("final_videos_test")
                why = FINAL if final else f"name does not follow {NAME.pattern} (meld)"
                lost.append(Lost(f"{part.short}_{path.stem}", path, "excluded", why))
    by_key = grouped(found, lambda pair: pair[0])
    return {key: sorted((path for _, path in same), key=is_video) for key, same in by_key.items()}


def _utterances(
    part: Part, file: Path | None, lost: list[Lost], notes: list[str]
) -> Iterator[tuple[int, Clip, tuple[int, int], str | None]]:
    """Every row by its number as a clip, its (dialogue, utterance), and the reason for which it is excluded, if any."""
    if file is None:
        return
    table = TextTable(file, COLUMNS)
    notes += table.told
    for number, row, fault in table.rows(COLUMNS, optional=OPTIONAL):
        if not fault and not (row["dialogue_id"].isdecimal() and row["utterance_id"].isdecimal()):
            fault = "row has no dialogue and utterance number"
        if fault:
            lost.append(Lost(f"{part.labels} row {number}", file, "excluded", fault))
            continue
        key = (int(row["dialogue_id"]), int(row["utterance_id"]))
        name, why = f"dia{key[0]}_utt{key[1]}", None
        labels: dict[str, str] = {}
        try:
            labels["emotion"] = canonical(row["emotion"])
        except UnknownEmotion as error:
            why = str(error) if row["emotion"] else "no emotion is given"
        speaker = " ".join(row["speaker"].split())
        speaker = next((known for known in SIX if known.lower() == speaker.lower()), speaker)
        labels |= {"sentiment": row["sentiment"].lower(), "character": speaker if speaker in SIX else OTHERS}
        season = {column: row[column] for column in ("season", "episode") if row[column]}
        labels |= {**season, "dialogue": f"{part.short}_dia{key[0]}"}
        start, end = seconds_of(row["starttime"].strip()), seconds_of(row["endtime"].strip())
        if start is not None and end is not None and end > start:
            labels[LISTED] = f"{end - start:.3f}"
        session = f"season {row['season']} episode {row['episode']}" if len(season) == 2 else None
        path, spoken = Path(part.folder, f"{name}.mp4"), row["utterance"] or None
        clip = Clip(
            f"{part.short}_{name}", path, labels, speaker or None, session, part.name, spoken, labels["dialogue"]
        )
        yield number, clip, key, why


LINE = {"path": "wav", "emotion": "emo", "clip": "key", "speaker": "spk", "split": " split", "code": "emo"}
"""Field or label column -> key of a line; the split is that of the line's file."""

FOLD = re.compile(r".+_(?P<split>train|valid|test)_fold_?(?P<fold>\d+)\.jsonl")
ABOVE = 4
"""Paths may refer to a folder so many levels above the lines; EmoBox counts from two above a corpus's folder."""


def open_emobox(
    root: str | Path | None, audio_root: str | Path | None = None, labels: Mapping[str, str] | None = None
) -> Corpus:
    """Open a corpus as EmoBox describes it, by lines that name ``key``, ``wav`` and ``emo``; see docs/corpora.md.

    Args:
        root: the corpus's folder (``data/iemocap``: every clip; the session is the fold that tests it, where there
            are several, else the split is that of the only fold), the folder of one fold (``data/iemocap/fold_1``: the
            split is train, valid or test), or a file of lines.
        audio_root: by default the nearest folder above the lines that holds what their paths name.
        labels: words -> emotion, before those of the label map.
    """
    such = "give a folder such as EmoBox/data/iemocap"
    if root is None:
        raise ValueError("corpus 'emobox' needs the folder of its JSON lines: give root='EmoBox/data/iemocap'")
    given = Path(root).expanduser()
    if not given.exists():
        raise FileNotFoundError(f"{given} does not exist: {such}")
    folder = given if given.is_dir() else given.parent
    rows, faults, sessions = _clips(given)
    if not rows:
        raise ValueError(f"no JSON lines in {given}: {such}, or one of its folds")
    home = folder.parent if re.fullmatch(r"fold_?\d+", folder.name) else folder
    dataset = next((text for row in rows if (text := _text(row, "dataset"))), home.name)
    corpus = CORPORA["emobox"]["ids"].get(dataset, dataset)
    listed = _speakers(home / "data.seg.wrd.stm")
    values = {field: [_text(row, name) for row in rows] for field, name in LINE.items()}
    who = list(zip(values["speaker"], values["path"], values["clip"], strict=True))
    values["speaker"] = [own or _speaker(corpus, name) or listed.get(key or "") for own, name, key in who]
    values["session"] = [sessions.get(key or "") for _, _, key in who]
    first = [name for name in values["path"] if name][:50]
    above = [folder.resolve(), *folder.resolve().parents][: ABOVE + 1]
    nearest = (place for place in above if any((place / name).exists() for name in first))
    base = folder_of_paths(audio_root) or next(nearest, folder)
    read = vocabulary(labels, corpus, _label_map(home))
    # EmoBox leaves clips out and merges emotions, so that a release's counts do not hold
    known = CorpusInfo.of(corpus) if corpus == "iemocap" or corpus in GRAMMARS else CorpusInfo("", "")
    title = f"{known.title or dataset} as in EmoBox"
    info = replace(known, id=f"emobox-{dataset}", title=title, expected={}, usual=None)
    found = build_corpus(info, given, base, values, read, faults)
    return replace(found, clips=tuple(replace(clip, block=_block(corpus, clip.path)) for clip in found.clips))


Line = Mapping[str, object]


def _clips(given: Path) -> tuple[list[Line], dict[int, str], dict[str, str]]:
    """The lines, why some of them are excluded, and the fold that tests each key."""
    rows: list[Line] = []
    faults: dict[int, str] = {}
    tested: dict[str, set[str]] = defaultdict(set)
    parts: dict[str, str] = {}
    whole, folds = _line_files(given)
    listed: set[str] = set()
    for file, number, row, fault in _lines(whole):
        match = FOLD.fullmatch(file.name)
        if not fault and ("start_time" in row or "end_time" in row):
            fault = PART
        if fault:
            faults[len(rows)] = fault if row else f"{file.name} line {number}: {fault}"
        rows.append({**row, " split": match["split"] if match and given.is_dir() else None})
        listed.add(str(row.get("key")))
    for file, number, row, fault in _lines(folds):
        match, key = FOLD.fullmatch(file.name), str(row.get("key"))
        if match and not fault:
            parts[key] = match["split"]
            if match["split"] == "test":
                tested[key].add(f"fold {match['fold']}")
        if fault or key not in listed:
            faults[len(rows)] = f"{file.name} line {number}: {fault or 'is not among all clips of the corpus'}"
            rows.append({**row, " split": None})
            listed.add(key)
    if len(set().union(*tested.values())) < 2:
        # one division into training and test data is no cross-validation
        rows = [{**row, " split": row[" split"] or parts.get(str(row.get("key")))} for row in rows]
        tested.clear()
    return rows, faults, {key: min(found) for key, found in tested.items() if len(found) == 1}


def _lines(files: list[Path]) -> Iterator[tuple[Path, int, Line, str]]:
    for file in files:
        for row in json_lines(file, chinese=True)[0]:
            yield file, row.line, row.cells, row.fault


def _line_files(given: Path) -> tuple[list[Path], list[Path]]:
    """Files whose lines are the clips, and files of folds that repeat them."""
    if given.is_file():
        return [given], []
    here = sorted(given.glob("*.jsonl"))
    parts, folds = _of_folds(here), _of_folds(sorted(given.glob("fold*/*.jsonl")))
    return (parts, []) if parts else (here, folds)


def _of_folds(files: list[Path]) -> list[Path]:
    parts = [file for file in files if FOLD.fullmatch(file.name)]
    # some folders hold each file twice, as _fold1 and as _fold_1
    return [file for file in parts if "_fold_" in file.name] or parts


def _text(row: Line, name: str) -> str | None:
    value = row.get(name)
    if value is None or isinstance(value, dict | list | bool):
        return None
    return str(value).strip() or None


def _speaker(corpus: str, name: str | None) -> str | None:
    """The speaker that a file's name tells, where its corpus is known."""
    if name is None:
        return None
    if corpus == "iemocap":
        # EmoBox's own lists name the actor with the markers, who in every second turn is not the one who speaks
        turn = TURN_NAME.fullmatch(Path(name).stem)
        return turn["session"] + turn["gender"] if turn else None
    clip = GRAMMARS[corpus].read(Path(name)) if corpus in GRAMMARS else None
    return clip.speaker if clip else None


def _block(corpus: str, file: Path) -> str | None:
    """The block that a file's name tells, where its corpus is known."""
    if corpus == "iemocap":
        return file.stem.rpartition("_")[0] if TURN_NAME.fullmatch(file.stem) else None
    clip = GRAMMARS[corpus].read(file) if corpus in GRAMMARS else None
    return clip.block if clip else None


def _speakers(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    cells = (line.split(maxsplit=3) for line in lines_of(read_text(file, chinese=True)[0]))
    return {found[0]: found[2] for found in cells if len(found) == 4}


def _label_map(home: Path) -> dict[str, str]:
    file, remedy = home / "label_map.json", "copy it again, or take it away"
    if not file.is_file():
        return {}
    try:
        words = json.loads(read_text(file, chinese=True)[0])
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}): {remedy}") from None
    if not isinstance(words, dict) or not all(isinstance(word, str) for word in words.values()):
        raise ValueError(f"{file} does not map words to words: {remedy}")
    return words
