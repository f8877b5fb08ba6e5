"""IEMOCAP as its licence holder ships it: labels, transcripts and attributes per dialog."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from emoscope.corpora.clip import Clip, CorpusInfo, Lost
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.fates import Fates
from emoscope.corpora.files import all_files, existing_folder
from emoscope.corpora.ratings import RATINGS, with_thirds
from emoscope.corpora.text_tables import lines_of, read_text
from emoscope.emotions import CODES

INFO = CorpusInfo(
    "iemocap",
    "Interactive Emotional Dyadic Motion Capture Database",
    licence="by signed form; not redistributable",
    citation="Busso et al. 2008, Language Resources and Evaluation 42(4)",
    language="English",
    url="https://sail.usc.edu/iemocap",
    expected={
        "clips": 10039, "speakers": 10, "anger": 1103, "disgust": 2, "excitement": 1041, "fear": 40,
        "frustration": 1849, "happiness": 595, "neutral": 1708, "sadness": 1084, "surprise": 107, "other": 3,
    },
)  # fmt: skip

TURN = re.compile(r"\[[\d.]+\s*-\s*[\d.]+\]\s+(?P<turn>\S+)\s+(?P<code>[a-z]+)\s+\[(?P<ratings>[^\]]*)\]\s*")
NAME = re.compile(r"(?P<session>Ses\d\d)[FM]_(?P<scene>impro|script)\w*_(?P<gender>[FM])(?:\d{3}|XX\d)")
SPOKEN = re.compile(r"(?P<turn>Ses\S+)\s+\[[^\]]*\]:?\s*(?P<text>.*)")
LEFT_OUT = {"xxx": "no majority among the raters (xxx)", "oth": "labelled other (oth)"}
GENDER = {"F": "female", "M": "male"}


def open_iemocap(root: str | Path | None, all_codes: bool = False) -> Corpus:
    """Open IEMOCAP.

    Labels: emotion (excitement stays apart from happiness: merge them in the study), code (the original), scene
    (improvised or scripted), gender, valence, activation, dominance (means of the raters, 1 to 5), and their thirds
    over all turns, such as activation_third (low, mid, high). The speaker is the letter of a turn's last field, not
    the one after the session, which says who wore the markers.
    Turns labelled xxx or oth are excluded; a turn without its sound file is quarantined.

    The four classes of the literature, 5,531 turns, are
    ``.merged({"happiness": ["hap", "exc"]}).keep(["ang", "hap", "neu", "sad"])``; in a study
    ``merge = { happiness = ["hap", "exc"] }`` and ``emotions = ["anger", "happiness", "neutral", "sadness"]``.

    Args:
        root: the folder ``IEMOCAP_full_release``, or the folder that holds it.
        all_codes: keep the turns labelled oth (emotion "other") and xxx (no emotion: of use where another column is
            asked, such as activation_third) in use.

    Raises:
        FileNotFoundError: the folder does not exist, or holds no ``Session*/dialog/EmoEvaluation``.
        ValueError: no root is given, or no turn can be used.
    """
    folder = existing_folder(root, "iemocap")
    sessions = _sessions(folder)
    found = all_files(sessions[0].parent)
    there = set(found.files)
    fates = Fates(lost=list(found.lost))
    for session in sessions:
        for clip, why in _turns(session, fates.lost):
            kept = all_codes and clip.labels["code"] in LEFT_OUT
            fates.add(clip, None if kept else why, clip.path in there)
    known = {clip.path for clip in fates.clips.values()} | {one.path for one in fates.lost}
    for path in found.files:
        if path not in known:
            turn = path.parent.parent.parts[-2:] == ("sentences", "wav")
            why = "no label in dialog/EmoEvaluation" if turn else "not among the turns in sentences/wav"
            fates.lost.append(Lost(path.stem, path, "excluded", why))
    if not fates.clips:
        why = fates.lost[0].why if fates.lost else "no labelled turn was found"
        raise ValueError(f"no turn of IEMOCAP under {folder} can be used: {why}")
    told = found.told(sessions[0].parent)
    return with_thirds(Corpus(INFO, tuple(fates.clips.values()), tuple(fates.lost), told))


def _sessions(folder: Path) -> list[Path]:
    for place in (folder, folder / "IEMOCAP_full_release"):
        found = sorted(path for path in place.glob("Session*") if (path / "dialog" / "EmoEvaluation").is_dir())
        if found:
            return found
    raise FileNotFoundError(
        f"{folder} holds no Session*/dialog/EmoEvaluation: give the folder IEMOCAP_full_release as it was unpacked"
    )


def _turns(session: Path, lost: list[Lost]) -> Iterator[tuple[Clip, str | None]]:
    """Every labelled turn with the reason for which it is excluded, if any; lines that make no sense go to ``lost``."""
    # sub-folders of EmoEvaluation hold the single raters' files
    for file in sorted((session / "dialog" / "EmoEvaluation").glob("*.txt")):
        if file.name.startswith("._"):
            continue
        spoken = _transcript(session / "dialog" / "transcriptions" / file.name)
        wavs = session / "sentences" / "wav" / file.stem
        for number, line in enumerate(map(str.rstrip, lines_of(read_text(file)[0])), start=1):
            if not line.startswith("["):
                continue
            turn = TURN.fullmatch(line)
            name = NAME.fullmatch(turn["turn"]) if turn else None
            if turn is None or name is None:
                lost.append(Lost(f"{file.stem} line {number}", file, "excluded", "line is not a labelled turn"))
                continue
            yield _clip(wavs, turn, name, spoken.get(turn["turn"]))


def _clip(wavs: Path, turn: re.Match[str], name: re.Match[str], transcript: str | None) -> tuple[Clip, str | None]:
    code = turn["code"]
    emotion = CODES["iemocap"].get(code)
    labels = {"emotion": emotion} if emotion else {}
    labels["code"] = code
    labels["scene"] = "improvised" if name["scene"] == "impro" else "scripted"
    labels["gender"] = GENDER[name["gender"]]
    ratings = [text.strip() for text in turn["ratings"].split(",")]
    labels.update({rating: text for rating, text in zip(RATINGS, ratings, strict=False) if text})
    clip = Clip(
        turn["turn"],
        wavs / f"{turn['turn']}.wav",
        labels,
        speaker=name["session"] + name["gender"],
        session=f"Session{int(name['session'][3:])}",
        transcript=transcript,
    )
    return clip, LEFT_OUT.get(code) or (None if emotion else f"code {code!r} is not known")


def _transcript(file: Path) -> dict[str, str]:
    if not file.is_file():
        return {}
    lines = (SPOKEN.fullmatch(line.strip()) for line in lines_of(read_text(file)[0]))
    return {line["turn"]: line["text"] for line in lines if line}
