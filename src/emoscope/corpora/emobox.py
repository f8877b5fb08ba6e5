"""A corpus described as EmoBox describes it: one JSON object a line, folds in files of their own."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

from emoscope.corpora.clip import CorpusInfo, Vocabulary
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.named import GRAMMARS
from emoscope.corpora.rows import PART, build_corpus, folder_of_paths
from emoscope.corpora.text_tables import json_lines, lines_of, read_text

IDS = {"cremad": "crema-d", "turevdb": "turev", "msppodcast": "msp-podcast"}
"""Names of EmoBox that differ from the ids here."""

FOLD = re.compile(r".+_(?P<split>train|valid|test)_fold_?(?P<fold>\d+)\.jsonl")
IEMOCAP = re.compile(r"(Ses\d\d)[FM]_\w+_([FM])(?:\d{3}|XX\d)")
ABOVE = 4
"""Paths may refer to a folder so many levels above the lines; EmoBox counts from two above a corpus's folder."""


def open_emobox(
    root: str | Path | None, audio_root: str | Path | None = None, labels: Mapping[str, str] | None = None
) -> Corpus:
    """Open a corpus as EmoBox describes it.

    A line names ``key``, ``wav`` and ``emo``, and may name ``spk`` and ``dataset``. Words of ``label_map.json`` are
    translated; the label column ``code`` keeps the word itself. Without ``spk`` the speaker is read from the names
    of files that emoscope knows, else from ``data.seg.wrd.stm``.

    Args:
        root: the corpus's folder (``data/iemocap``: every clip; the session is the fold that tests it, where there
            are several, else the split is that of the only fold), the folder of one fold (``data/iemocap/fold_1``: the split is train, valid or test), or a file of lines.
        audio_root: folder to which the paths refer; by default the nearest folder above the lines that holds them.
        labels: words -> emotion, before those of the label map.

    Raises:
        FileNotFoundError: root does not exist, or none of the sound files.
        ValueError: no lines in the folder, or none that can be used.
    """
    if root is None:
        raise ValueError("corpus 'emobox' needs the folder of its JSON lines: give root='EmoBox/data/iemocap'")
    given = Path(root).expanduser()
    if not given.exists():
        raise FileNotFoundError(f"{given} does not exist: give a folder such as EmoBox/data/iemocap")
    folder = given if given.is_dir() else given.parent
    rows, faults, sessions = _rows(given)
    if not rows:
        raise ValueError(f"no JSON lines in {given}: give a folder such as EmoBox/data/iemocap, or one of its folds")
    home = folder.parent if re.fullmatch(r"fold_?\d+", folder.name) else folder
    dataset = next((text for row in rows if (text := _text(row, "dataset"))), home.name)
    corpus = IDS.get(dataset, dataset)
    listed = _speakers(home / "data.seg.wrd.stm")
    names, words, keys, spoken = ([_text(row, name) for row in rows] for name in ("wav", "emo", "key", "spk"))
    who = zip(spoken, names, keys, strict=True)
    values = {
        "path": names,
        "emotion": words,
        "clip": keys,
        "speaker": [own or _speaker(corpus, name) or listed.get(key or "") for own, name, key in who],
        "session": [sessions.get(key or "") for key in keys],
        "split": [_text(row, " split") for row in rows],
        "code": words,
    }
    base = folder_of_paths(audio_root) or _base(folder, names)
    vocabulary = Vocabulary(labels, corpus, _label_map(home))
    # EmoBox leaves clips out and merges emotions, so that a release's counts do not hold
    known = CorpusInfo.of(corpus) if corpus == "iemocap" or corpus in GRAMMARS else CorpusInfo("", "")
    title = f"{known.title or dataset} as in EmoBox"
    info = replace(known, id=f"emobox-{dataset}", title=title, expected={}, usual=None)
    return build_corpus(info, given, base, values, vocabulary, faults)


Line = Mapping[str, object]


def _rows(given: Path) -> tuple[list[Line], dict[int, str], dict[str, str]]:
    """The lines, why some of them are excluded, and the fold that tests each key."""
    rows: list[Line] = []
    faults: dict[int, str] = {}
    tested: dict[str, set[str]] = {}
    parts: dict[str, str] = {}
    whole, folds = _files(given)
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
                tested.setdefault(key, set()).add(f"fold {match['fold']}")
        if fault or key not in listed:
            faults[len(rows)] = f"{file.name} line {number}: {fault or 'is not among all clips of the corpus'}"
            rows.append({**row, " split": None})
            listed.add(key)
    if len({fold for found in tested.values() for fold in found}) < 2:
        # one division into training and test data is no cross-validation
        rows = [{**row, " split": row[" split"] or parts.get(str(row.get("key")))} for row in rows]
        tested = {}
    return rows, faults, {key: min(found) for key, found in tested.items() if len(found) == 1}


def _lines(files: list[Path]) -> Iterator[tuple[Path, int, Line, str]]:
    for file in files:
        for number, row, fault in json_lines(file, chinese=True)[0]:
            yield file, number, row, fault


def _files(given: Path) -> tuple[list[Path], list[Path]]:
    """Files whose lines are the clips, and files of folds that repeat them."""
    if given.is_file():
        return [given], []
    here = sorted(given.glob("*.jsonl"))
    parts = [file for file in here if FOLD.fullmatch(file.name)]
    # some folders hold each file twice, as _fold1 and as _fold_1
    parts = [file for file in parts if "_fold_" in file.name] or parts
    if parts:
        return parts, []
    folds = sorted(file for file in given.glob("fold*/*.jsonl") if FOLD.fullmatch(file.name))
    return here, [file for file in folds if "_fold_" in file.name] or folds


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
        turn = IEMOCAP.fullmatch(Path(name).stem)
        return turn[1] + turn[2] if turn else None
    clip = GRAMMARS[corpus].read(Path(name)) if corpus in GRAMMARS else None
    return clip.speaker if clip else None


def _speakers(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    cells = (line.split(maxsplit=3) for line in lines_of(read_text(file, chinese=True)[0]))
    return {found[0]: found[2] for found in cells if len(found) == 4}


def _label_map(home: Path) -> dict[str, str]:
    file = home / "label_map.json"
    if not file.is_file():
        return {}
    try:
        words = json.loads(read_text(file, chinese=True)[0])
    except ValueError as error:
        raise ValueError(f"{file} is not JSON ({error}): copy it again, or take it away") from None
    if not isinstance(words, dict) or not all(isinstance(word, str) for word in words.values()):
        raise ValueError(f"{file} does not map words to words: copy it again, or take it away")
    return words


def _base(folder: Path, names: list[str | None]) -> Path:
    first = [name for name in names if name][:50]
    above = [folder.resolve(), *folder.resolve().parents][: ABOVE + 1]
    return next((place for place in above if any((place / name).exists() for name in first)), folder)
