"""Deal clips into folds for cross-fitting, so that no speaker stands on both sides."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import cycle

from emoscope.corpora.audio import checksum
from emoscope.corpora.clip import Clip, CorpusInfo, natural

MOST_SPEAKER_FOLDS = 10
"""Up to this many speakers each is a fold of its own; every fold costs a selection and its controls."""

GROUPS = 5
"""Number of folds where there are more speakers than that, or where speakers are unknown."""

IDENTIFY_SPLITS = frozenset({"train", "training", "dev", "devel", "development", "val", "valid", "validation"})
EVALUATE_SPLITS = frozenset({"test", "test1", "testing", "eval", "evaluation"})


def assign_folds(
    clips: Iterable[Clip],
    folds: str | int = "speaker",
    seed: int = 0,
    checksums: Mapping[str, str] | None = None,
    column: str = "emotion",
    assigned: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """Assign every clip to a fold: clip id -> name of its fold.

    Each fold holds about as many clips of every label; which ones depends on all clips, in any order. What
    :func:`crossfit_fault` finds is a ValueError.

    Args:
        folds: ``"speaker"`` (every speaker a fold up to 10 speakers, else 5 groups of speakers), another
            column such as ``"session"`` (every value a fold), or a number of speaker folds. Where speakers
            are unknown, or a number is given and there is one speaker, clips are assigned by their content.
        checksums: clip id -> content hash; computed from the files where they are needed and not given.
        column: the label column over which folds are balanced.
        assigned: clip id -> fold, from an earlier time, in which its speaker stays (one voice that was assigned by
            content goes to one fold where others join); of no effect where ``folds`` is a column.

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> assign_folds(open_corpus("polish"), "speaker")["m1.a_nie_2"]
        'm1'
        >>> sorted(set(assign_folds(open_corpus("polish"), 3).values()))
        ['fold1', 'fold2', 'fold3']
    """
    ordered = list(clips)
    fault = crossfit_fault(ordered, folds)
    by_speaker = folds == "speaker" or (isinstance(folds, int) and folds > 1)
    if fault and not (assigned and by_speaker):
        raise ValueError(fault)
    if isinstance(folds, str) and folds != "speaker":
        return {clip.id: _fold_name(clip.value(folds)) for clip in ordered}
    speakers = sorted({clip.speaker for clip in ordered if clip.speaker is not None}, key=natural)
    unknown = any(clip.speaker is None for clip in ordered)
    one_voice = len(speakers) == 1 and not unknown
    names = [f"fold{number + 1}" for number in range(folds if isinstance(folds, int) else GROUPS)]
    # one voice is assigned by its recordings, and a clip whose speaker is unknown is a group of its own
    voices = {clip.id: clip.speaker for clip in ordered if clip.speaker and not one_voice}
    sums, others = checksums or {}, [clip for clip in ordered if clip.id not in voices]
    content = {clip.id: sums.get(clip.id) or checksum(clip.path) for clip in others}
    group_of = {**voices, **{clip: f"\x1f{recording}" for clip, recording in content.items()}}
    if kept := {clip.id: assigned[clip.id] for clip in ordered if assigned and clip.id in assigned}:
        known = names if set(kept.values()) <= set(names) else sorted(set(kept.values()), key=natural)
        # the first in the order of ids, where clips of one speaker were in several folds
        fold_of = {group_of[clip]: kept[clip] for clip in sorted(kept, reverse=True)}
        found = _balanced(ordered, group_of, known, fold_of, seed, column)
        if len(set(found.values())) > 1:
            return found
        # filters left the speakers of one fold: they are assigned anew
    if fault:
        raise ValueError(fault)
    if isinstance(folds, str) and len(speakers) <= MOST_SPEAKER_FOLDS and speakers and not unknown:
        return {clip.id: _fold_name(clip.speaker) for clip in ordered}
    if not speakers or one_voice:
        return _by_content(ordered, content, names, seed, column)
    return _balanced(ordered, group_of, names, {}, seed, column)


def crossfit_fault(clips: Sequence[Clip], folds: str | int = "speaker") -> str | None:
    """Why clips cannot be cross-fitted over a column or a number of folds, or ``None`` where they can.

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> crossfit_fault(open_corpus("polish").clips, 6)
        'folds = 6 but the clips have 5 speakers: give at most 5'
    """
    if not clips:
        return None
    if isinstance(folds, int):
        known = {clip.speaker for clip in clips}
        if folds < 2:
            return f"folds = {folds}: give at least 2, or a column such as 'speaker'"
        if None not in known and 1 < len(known) < folds:
            return f"folds = {folds} but the clips have {len(known)} speakers: give at most {len(known)}"
        return None
    values = {clip.value(folds) for clip in clips}
    if folds == "speaker":
        if len(values) > 1 or None in values:
            return None
        return (
            f"all {len(clips)} clips have one speaker ({next(iter(values))}), so that no voice is left for the test. "
            "Where there are several voices, what names the speaker is wrong: look at the pattern or the column. Only where "
            f"it is one voice indeed, identify.folds = {GROUPS} cross-fits over its recordings"
        )
    if without := [clip.id for clip in clips if clip.value(folds) is None]:
        return (
            f"folds = {folds!r}: {len(without)} of {len(clips)} clips have no {folds} (such as {min(without)}): "
            f"choose another column or folds = {GROUPS}"
        )
    if len(values) == 1:
        return f"folds = {folds!r}: all clips have {folds} {next(iter(values))!r}; two are needed"
    return None


def fold_column(clips: Sequence[Clip], folds: str | int, usual: str) -> str | int:
    """Over what a study cross-fits: ``"speaker"`` stands for the column that is usual in the corpus.

    Where filters left one value of that column, its speakers are assigned as in any corpus.
    """
    if folds != "speaker" or usual == "speaker":
        return folds
    return usual if len({clip.value(usual) for clip in clips}) > 1 else "speaker"


def _by_content(
    clips: Sequence[Clip], content: Mapping[str, str], names: Sequence[str], seed: int, column: str
) -> dict[str, str]:
    # assigned in turn within each label, so that folds are balanced; copies of one recording share a fold
    label_of: dict[str, str] = {}
    for clip in clips:
        label = clip.value(column) or ""
        label_of[content[clip.id]] = min(label, label_of.get(content[clip.id], label))
    # counting on from label to label keeps the folds' totals within one of each other, too
    ordered = sorted(label_of, key=lambda recording: (label_of[recording], seeded_hash(seed, recording)))
    fold_of = dict(zip(ordered, cycle(names), strict=False))
    return {clip.id: fold_of[content[clip.id]] for clip in clips}


def _balanced(
    clips: Sequence[Clip],
    group_of: Mapping[str, str],
    names: Sequence[str],
    fold_of: Mapping[str, str],
    seed: int,
    by: str,
) -> dict[str, str]:
    """Deal the groups that have no fold yet, and give every clip the fold of its group."""
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    for clip in clips:
        labels[group_of[clip.id]][clip.value(by) or ""] += 1
    totals = sum(labels.values(), Counter[str]())
    filled: list[Counter[str]] = [Counter() for _ in names]
    held = [0] * len(names)
    places = {group: names.index(fold) for group, fold in fold_of.items()}
    new = sorted(labels.keys() - places.keys(), key=lambda group: (-labels[group].total(), seeded_hash(seed, group)))
    # large speakers first, each to the fold that has least of the labels which it brings
    for group in (*fold_of, *new):
        brings = labels[group]
        if group not in places:
            crowded = [
                (sum(there[label] * n / totals[label] ** 2 for label, n in brings.items()), count, place)
                for place, (there, count) in enumerate(zip(filled, held, strict=True))
            ]
            places[group] = min(crowded)[2]
        filled[places[group]].update(brings)
        held[places[group]] += 1
    return {clip.id: names[places[group_of[clip.id]]] for clip in clips}


def _fold_name(value: str | None) -> str:
    # "all" names the sets that are fitted on every clip
    return f"{value} (value)" if value == "all" else value or ""


def same_recordings(
    info: CorpusInfo, clips: Sequence[Clip], sums: Mapping[str, str], fold: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Clips whose very recording is also that of another clip, which is used: clip id -> why it is left out.

    Some published corpora hold a recording under two names of one speaker and emotion, as if it were two takes. These
    stay in use in one fold: they are part of a release whose counts are known (``info.expected``). Clips without a
    content hash in ``sums`` are compared with none.

    Example:
        >>> from pathlib import Path
        >>> clips = [Clip(name, Path(f"{name}.wav"), {}) for name in "bac"]
        >>> same_recordings(CorpusInfo("x", "x"), clips, {"a": "1", "b": "1", "c": "2"})
        {'b': 'same recording (as a)'}
    """
    fold = fold or {}

    def takes(clip: Clip) -> tuple[str | None, str | None, str | None]:
        return clip.speaker, clip.value("emotion"), fold.get(clip.id)

    used: dict[str, list[Clip]] = {}
    copies = {}
    for clip in sorted((clip for clip in clips if clip.id in sums), key=lambda clip: clip.id):
        same = used.setdefault(sums[clip.id], [])
        two_takes = bool(info.expected) and clip.speaker is not None
        twin = next((kept for kept in same if not (two_takes and takes(kept) == takes(clip))), None)
        if twin is None:
            same.append(clip)
            continue
        differ = [name for name in ("emotion", "speaker") if twin.value(name) not in (None, "", clip.value(name))]
        known = [f"{name} {twin.value(name)}" for name in differ]
        copies[clip.id] = f"same recording (as {', '.join([twin.id, *known])})"
    return copies


def official_side(split: str | None) -> str | None:
    """The side on which a corpus's own split puts a clip: identify, evaluate, or none (a second test set, say).

    Example:
        >>> [official_side(split) for split in ("train", "Validation", "Test1", "test2", None)]
        ['identify', 'identify', 'evaluate', None, None]
    """
    name = (split or "").lower()
    return "identify" if name in IDENTIFY_SPLITS else "evaluate" if name in EVALUATE_SPLITS else None


def seeded_hash(*parts: object) -> str:
    """Hash of some values, equal on every machine: an order that looks random and never changes."""
    return hashlib.sha256("\x1f".join(map(str, parts)).encode()).hexdigest()
