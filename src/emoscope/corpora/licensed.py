"""IEMOCAP and MSP-Podcast as their licence holders ship them: the raters' consensus, their ratings, and transcripts."""

from __future__ import annotations

import math
import os
import re
from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path

from emoscope.corpora.clip import NOT_FOUND, Clip, CorpusInfo, Lost
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import all_files, choose_copy, existing_folder, grouped
from emoscope.corpora.rows import Statuses
from emoscope.corpora.text_tables import TextTable, lines_of, read_text
from emoscope.emotions import CODES, CORPORA, UnknownEmotion, canonical

RATINGS = ("valence", "activation", "dominance")
"""Columns of ratings, in the order in which IEMOCAP lists them."""

THIRDS = ("low", "mid", "high")

TURN = re.compile(r"\[[\d.]+\s*-\s*[\d.]+\]\s+(?P<turn>\S+)\s+(?P<code>[a-z]+)\s+\[(?P<ratings>[^\]]*)\]\s*")
TURN_NAME = re.compile(r"(?P<session>Ses\d\d)[FM]_(?P<scene>impro|script)\w*_(?P<gender>[FM])(?:\d{3}|XX\d)")
SCENES, GENDERS = {"impro": "improvised", "script": "scripted"}, {"F": "female", "M": "male"}
SPOKEN = re.compile(r"(?P<turn>Ses\S+)\s+\[[^\]]*\]:?\s*(?P<text>.*)")
LABEL_FILES = ("labels_consensus.csv", "labels_concensus.csv")
COLUMNS = ("FileName", "EmoClass", "EmoAct", "EmoVal", "EmoDom", "SpkrID", "Gender", "Split_Set")
RATED = {"emoact": "activation", "emoval": "valence", "emodom": "dominance"}
WITHHELD = "the release withholds the labels of Test3"

CLASSES = tuple(CODES["msp-podcast"].values())
NAMED = ("EmoClass_Major", "EmoClass_Primary", "EmoClass")
"""Columns that hold a rater's class where each row is one rater (releases 1.6 and 2.0)."""


def open_iemocap(root: str | Path | None, all_codes: bool = False) -> Corpus:
    """Open IEMOCAP; docs/corpora.md says which labels are read and what is left out.

    Excitement stays apart from happiness (merge them in the study). The speaker is the letter of a turn's last field, not
    the one after the session, which says who wore the markers.

    Args:
        root: the folder ``IEMOCAP_full_release``, or the folder that holds it.
        all_codes: keep the turns labelled oth (emotion "other") and xxx (no emotion: of use where another column is
            asked, such as activation_third) in use.
    """
    folder = existing_folder(root, "iemocap")
    sessions = _sessions(folder)
    found = all_files(sessions[0].parent)
    there = set(found.files)
    statuses = Statuses(lost=list(found.lost))
    for clip, why in (turn for session in sessions for turn in _turns(session, all_codes, statuses.lost)):
        statuses.add(clip, why, None if clip.path in there else NOT_FOUND)
    known = {clip.path for clip in statuses.clips.values()} | {lost.path for lost in statuses.lost}
    for path in (path for path in found.files if path not in known):
        turn = path.parent.parent.parts[-2:] == ("sentences", "wav")
        why = "no label in dialog/EmoEvaluation" if turn else "not among the turns in sentences/wav"
        statuses.lost.append(Lost(path.stem, path, "excluded", why))
    statuses.require(f"turn of IEMOCAP under {folder}", "no labelled turn was found")
    return with_thirds(statuses).corpus(CorpusInfo.of("iemocap"), found.told(sessions[0].parent))


def _sessions(folder: Path) -> list[Path]:
    for place in (folder, folder / "IEMOCAP_full_release"):
        found = sorted(path for path in place.glob("Session*") if (path / "dialog" / "EmoEvaluation").is_dir())
        if found:
            return found
    raise FileNotFoundError(
        f"{folder} holds no Session*/dialog/EmoEvaluation: give the folder IEMOCAP_full_release as it was unpacked"
    )


def _turns(folder: Path, all_codes: bool, lost: list[Lost]) -> Iterator[tuple[Clip, str | None]]:
    """Every labelled turn with the reason for which it is excluded, if any; lines that make no sense go to ``lost``."""
    # sub-folders of EmoEvaluation hold the single raters' files
    for file in sorted((folder / "dialog" / "EmoEvaluation").glob("*.txt")):
        if file.name.startswith("._"):
            continue
        transcripts = folder / "dialog" / "transcriptions" / file.name
        lines = map(str.strip, lines_of(read_text(transcripts)[0]) if transcripts.is_file() else ())
        spoken = {match["turn"]: match["text"] for match in map(SPOKEN.fullmatch, lines) if match}
        wavs = folder / "sentences" / "wav" / file.stem
        for number, line in enumerate(map(str.rstrip, lines_of(read_text(file)[0])), start=1):
            turn = TURN.fullmatch(line)
            name = TURN_NAME.fullmatch(turn["turn"]) if turn else None
            if turn and name:
                labels, why = _coded("iemocap", turn["code"], all_codes)
                scene, gender = SCENES[name["scene"]], GENDERS[name["gender"]]
                ratings = zip(RATINGS, map(str.strip, turn["ratings"].split(",")), strict=False)
                labels |= {"scene": scene, "gender": gender, **{rating: text for rating, text in ratings if text}}
                session, speaker = f"Session{int(name['session'][3:])}", name["session"] + name["gender"]
                wav, transcript = wavs / f"{turn['turn']}.wav", spoken.get(turn["turn"])
                yield Clip(turn["turn"], wav, labels, speaker, session, transcript=transcript, block=file.stem), why
            elif line.startswith("["):
                lost.append(Lost(f"{file.stem} line {number}", file, "excluded", "line is not a labelled turn"))


def _coded(corpus: str, code: str, all_codes: bool) -> tuple[dict[str, str], str | None]:
    """The labels that a code of the raters' consensus gives a clip, and why it is excluded, if it is."""
    emotion, why = CODES[corpus].get(code), CORPORA[corpus]["left_out"].get(code)
    if not emotion and not why:
        why = f"code {code!r} is not known"
    elif all_codes:
        why = None
    return {name: text for name, text in (("emotion", emotion), ("code", code)) if text}, why


def open_msp_podcast(
    root: str | Path | None, audio_root: str | Path | None = None, all_codes: bool = False, release: str | None = None
) -> Corpus:
    """Open MSP-Podcast; docs/corpora.md says which labels are read and what is left out.

    Args:
        root: the release's folder, or the folder that holds it.
        audio_root: where the sound files are, if not in ``Audios`` or ``Audio`` beside the labels.
        all_codes: keep the clips labelled O (emotion "other") and X (no emotion) in use.
        release: with what to compare counts, such as "1.11"; by default what the folder's name says.
    """
    folder = existing_folder(root, "msp-podcast")
    table = _table(folder)
    audio = _audio(table, audio_root)
    found = all_files(audio)
    statuses = Statuses(lost=list(found.lost))
    files: dict[str, Path] = {}  # in any depth: some copies hold Audios/Audios
    for stem, paths in grouped(found.files, lambda path: path.stem).items():
        files[stem], others = choose_copy(paths, audio)
        statuses.lost += [Lost(stem, path, "excluded", why) for path, why in others.items()]
    if audio_root is None:
        beside = [path for path in all_files(table.parent.parent).files if not path.is_relative_to(audio)]
        statuses.lost += [Lost(path.stem, path, "excluded", f"outside the folder {audio.name}") for path in beside]
    detailed = table.with_name("labels_detailed.csv")
    soft = _shares(detailed) if detailed.is_file() else {}
    labels = TextTable(table, COLUMNS)
    for clip, why in _rows(labels, files, soft, all_codes, statuses.lost):
        statuses.add(clip, why, None if clip.id in files else NOT_FOUND)
    for name in sorted(files.keys() - statuses.named):
        why = WITHHELD if "test3" in name.lower() else f"no row in {table.name} (labels of Test3 are withheld)"
        statuses.lost.append(Lost(name, files[name], "excluded", why))
    statuses.require(f"clip of MSP-Podcast under {folder}", "no rows")
    info = replace(CorpusInfo.of("msp-podcast"), expected=_expected(release, folder, table))
    return with_thirds(statuses).corpus(info, (*found.told(audio), *labels.told))


def _table(folder: Path) -> Path:
    for place in (folder, *_folders(folder)):
        inside = [path for path in _folders(place) if path.name.lower() in ("labels", "label")]
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
        found = {path.name.lower(): path for path in reversed(_folders(place))}
        if folder := found.get("audios") or found.get("audio"):
            return folder
    raise FileNotFoundError(f"there is no folder Audios or Audio beside {table.parent}: give it with audio_root")


def _folders(place: Path) -> list[Path]:
    return sorted(path for path in place.iterdir() if path.is_dir())


def _rows(
    source: TextTable, files: Mapping[str, Path], soft: Mapping[str, dict[str, str]], all_codes: bool, lost: list[Lost]
) -> Iterator[tuple[Clip, str | None]]:
    """Every row as a clip with the reason for which it is excluded, if any; rows that make no sense go to ``lost``."""
    table = source.file
    for number, row, fault in source.rows(COLUMNS):
        if fault or not row["filename"]:
            lost.append(Lost(f"{table.name} row {number}", table, "excluded", fault or "row names no file"))
            continue
        name = os.path.splitext(row["filename"])[0]
        path, shares = files.get(name) or table.parent / row["filename"], soft.get(name, {})
        split, gender = row["split_set"].lower(), row["gender"].lower()
        part = CORPORA["msp-podcast"]["splits"].get(split, split) or None
        labels, why = _coded("msp-podcast", row["emoclass"], all_codes)
        if not row["emoclass"]:
            why = WITHHELD if split == "test3" else "no emotion is given"
        if gender not in ("", "unknown"):
            labels["gender"] = gender
        labels |= {**{rating: row[column] for column, rating in RATED.items() if row[column]}, **shares}
        if own := shares.get(f"share_{labels.get('emotion')}"):
            labels["agreement"] = own
        podcast = re.search(r"_(\d+)_\d+", name)
        speaker = None if row["spkrid"].lower() in ("", "unknown") else row["spkrid"]
        episode = podcast and podcast[1]
        yield Clip(name, path, labels, speaker, episode, part, block=episode), why


def _expected(release: str | None, folder: Path, table: Path) -> dict[str, int]:
    releases = CORPORA["msp-podcast"]["releases"]
    if release is not None and release not in releases:
        raise ValueError(f"release {release!r} of MSP-Podcast: counts are known of {', '.join(releases)}; leave it out")
    names = (path.name for path in (folder, table.parent, table.parent.parent))
    named = [found[1] for name in names if (found := re.search(r"(?<![\d.])(\d\.\d+)(?![\d.])", name))]
    which = release or next((number for number in named if number in releases), "")
    return {f"split={name}": count for name, count in releases.get(which, {}).items()}


def _shares(file: Path) -> dict[str, dict[str, str]]:
    """Read ``labels_detailed.csv``: clip id -> columns raters, share_anger, share_sadness and so on.

    Each row is one rater's answer. Releases 1.7 to 1.12 put it into one text, ``EmoDetail``
    (``WORKER00000001; Happy; Happy,Amused; A:5; V:6; D:4;``), others into columns. A rater's own word ("Other-…")
    counts as other; rows without a class are no votes.
    """
    votes: dict[str, Counter[str]] = defaultdict(Counter)
    needed = ("FileName", "EmoDetail")
    for _, row, fault in TextTable(file, needed).rows(needed, {"EmoDetail": NAMED}):
        if not fault and (emotion := _vote(row["emodetail"])):
            votes[row["filename"]][emotion] += 1
    # one text object for each number: there are as many as 200,000 clips
    text = cache("{:.3f}".format)
    return {
        os.path.splitext(name)[0]: {
            "raters": str(counted.total()),
            **{f"share_{label}": text(counted[label] / counted.total()) for label in CLASSES},
        }
        for name, counted in votes.items()
    }


def _vote(text: str) -> str | None:
    """The emotion that a rater chose, in a column of its own or as the second part of a text; ``None`` for no vote."""
    first, *rest = text.split(";", 2)
    return _class_of((rest[0] if rest and first.lstrip().upper().startswith("WORKER") else first).strip())


@cache
def _class_of(word: str) -> str | None:
    if not word or word in CODES["msp-podcast"]:
        return CODES["msp-podcast"].get(word)
    try:
        emotion = canonical(word)
    except UnknownEmotion:
        return "other"
    return emotion if emotion in CLASSES else "other"


def with_thirds(statuses: Statuses) -> Statuses:
    """Give every rated clip columns such as ``activation_third``: low, mid or high.

    So a study can ask about ratings as it asks about emotions. The bounds are ratings that part all rated clips,
    also those that are not in use, as evenly as their ties permit; clips of one rating are in one third. A column
    with fewer than three different ratings gets no thirds, nor does a clip whose text is no number.

    Example:
        >>> statuses = Statuses({str(n): Clip(str(n), Path("x"), {"activation": f"{n / 2}"}) for n in range(6)})
        >>> [clip.labels["activation_third"] for clip in with_thirds(statuses).clips.values()]
        ['low', 'low', 'mid', 'mid', 'high', 'high']
    """
    rated = {lost.clip.id: lost.clip for lost in statuses.lost if lost.clip} | statuses.clips
    bounds = {}
    for column in RATINGS:
        ordered = sorted(number for clip in rated.values() if (number := _number(clip, column)) is not None)
        if len(set(ordered)) >= 3:
            bounds[column] = _bounds(ordered)

    def placed(clip: Clip) -> Clip:
        numbers = {column: number for column in bounds if (number := _number(clip, column)) is not None}
        thirds = {column: THIRDS[bisect_left(bounds[column], number)] for column, number in numbers.items()}
        return replace(clip, labels={**clip.labels, **{f"{column}_third": third for column, third in thirds.items()}})

    clips = {clip.id: placed(clip) for clip in statuses.clips.values()}
    lost = [replace(unused, clip=placed(unused.clip)) if unused.clip else unused for unused in statuses.lost]
    return Statuses(clips, lost, statuses.named)


def _bounds(ordered: Sequence[float]) -> tuple[float, float]:
    """The largest rating of the lower third, and of the middle one."""
    different = sorted(set(ordered))

    def off(bound: float, share: float) -> float:
        return abs(bisect_right(ordered, bound) / len(ordered) - share)

    low = min(different[:-2], key=lambda bound: off(bound, 1 / 3))
    return low, min((bound for bound in different[:-1] if bound > low), key=lambda bound: off(bound, 2 / 3))


def _number(clip: Clip, column: str) -> float | None:
    with suppress(ValueError):
        number = float(clip.labels.get(column, ""))
        return None if math.isnan(number) else number
    return None
