"""Which of several files of one clip is read, and which clips are the same recording."""

from __future__ import annotations

import filecmp
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from emoscope.corpora.clip import Clip, CorpusInfo
from emoscope.corpora.files import within
from emoscope.corpora.video import is_video


def choose_copy(
    paths: Sequence[Path], root: Path, speaker: str | None = None, speakers: Collection[str] = ()
) -> tuple[Path, dict[Path, str]]:
    """Choose among files of one clip: the folder that names its speaker, sound before video, the higher rate.

    Args:
        paths: the files, at least one.
        root: the corpus's folder.
        speaker: the clip's speaker, where the name tells.
        speakers: all speakers, so that a folder "actors_01-24" is not taken for that of speaker 01.

    Returns:
        the file that is read, and for every other one why it is not.

    Example:
        >>> choose_copy([Path("/x/all/a.wav")], Path("/x"))
        (PosixPath('/x/all/a.wav'), {})
    """
    if len(paths) == 1:
        return paths[0], {}
    alike = all(_same(paths[0], path) for path in paths[1:])
    rates = {path: 0 if alike else _rate(path) for path in paths}

    def rank(path: Path) -> tuple[bool, bool, int, Path]:
        words = set(re.split(r"[^0-9A-Za-z]+", path.parent.name)) & set(speakers) if path.parent != root else set()
        return words != {speaker}, is_video(path), -rates[path], path

    kept = min(paths, key=rank)
    reasons = {}
    for path in paths:
        if path == kept:
            continue
        if alike or _same(kept, path):
            reasons[path] = f"second copy (of {within(kept, root)})"
        else:
            numbers = f"; {rates[path]} Hz, there {rates[kept]} Hz" if rates[path] != rates[kept] else ""
            reasons[path] = f"another file of a clip, with other content (of {within(kept, root)}{numbers})"
    return kept, reasons


def _same(one: Path, other: Path) -> bool:
    try:
        return filecmp.cmp(one, other, shallow=False)
    except OSError:  # what cannot be read is found again, and quarantined, when it is listened to
        return False


def _rate(path: Path) -> int:
    import soundfile

    try:
        return int(soundfile.info(path).samplerate)
    except (soundfile.SoundFileError, OSError):
        return 0


def same_recordings(
    info: CorpusInfo, clips: Sequence[Clip], sums: Mapping[str, str], fold: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Clips whose very recording is also that of another clip, which is used: clip id -> why it is left out.

    Some published corpora hold a recording under two names of one speaker and emotion, as if it were two takes. These
    stay in use in one fold: they are part of a release whose counts are known (``info.expected``).

    Args:
        info: the corpus.
        clips: the clips.
        sums: clip id -> content hash; clips without one are compared with none.
        fold: clip id -> fold, if they are dealt.

    Example:
        >>> clips = [Clip(name, Path(f"{name}.wav"), {}) for name in "bac"]
        >>> same_recordings(CorpusInfo("x", "x"), clips, {"a": "1", "b": "1", "c": "2"})
        {'b': 'same recording (as a)'}
    """
    used: dict[str, list[Clip]] = {}
    copies = {}
    for clip in sorted((clip for clip in clips if clip.id in sums), key=lambda clip: clip.id):
        same = used.setdefault(sums[clip.id], [])
        apart = [one for one in same if not (info.expected and _as_two_takes(one, clip, fold or {}))]
        if not apart:
            same.append(clip)
            continue
        differ = [name for name in ("emotion", "speaker") if apart[0].value(name) != clip.value(name)]
        known = [f"{name} {apart[0].value(name)}" for name in differ if apart[0].value(name)]
        copies[clip.id] = f"same recording (as {', '.join([apart[0].id, *known])})"
    return copies


def _as_two_takes(one: Clip, other: Clip, fold: Mapping[str, str]) -> bool:
    alike = one.speaker == other.speaker and one.value("emotion") == other.value("emotion")
    return one.speaker is not None and alike and fold.get(one.id) == fold.get(other.id)
