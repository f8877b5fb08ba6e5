"""From a corpus to the candidate items of a study: sides and folds, listening order, letter orders."""

from __future__ import annotations

import os
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from itertools import count, product
from operator import attrgetter
from typing import TYPE_CHECKING

import polars as pl

from emoscope.corpora import Corpus, assign_folds, open_corpus
from emoscope.corpora.clip import as_label, listed
from emoscope.corpora.folds import fold_column, official_side, same_recordings, seeded_hash
from emoscope.emotions import in_order
from emoscope.experiments.prompts import PRESENTATIONS, asked_wordings, spoken, writes
from emoscope.experiments.schema import CorpusChoice, Study, StudyError
from emoscope.experiments.study import read_study
from emoscope.files import Checksums
from emoscope.questions import LETTERS, letter_orders
from emoscope.runs import Log
from emoscope.runs.folder import digest
from emoscope.schemas import schema

if TYPE_CHECKING:
    from emoscope.corpora import Clip
    from emoscope.experiments.schema import Row
    from emoscope.runs import RunFolder

SETTLED = ("answered", "correct", "evaluated")
"""Columns of the items that listening fills in."""

ByClip = Mapping[str, str]
"""Clip id -> its fold, side or checksum."""

MISSING = "missing"
"""Checksum of a file that cannot be read."""


def study_corpus(study: Study, trained_on: Sequence[Row] = (), corpus: Corpus | None = None) -> Corpus:
    """Open the study's corpus and exclude what is not asked about.

    Args:
        trained_on: corpora and filters on which the model was trained: excluded unless the study allows them.
    """
    choice, label = study.corpus, study.identify.label
    corpus = corpus or opened(choice)
    if choice.where:
        corpus = corpus.where(choice.where)
    if not study.model.allow_trained_on:
        filters = [entry.get("where", {}) for entry in trained_on if entry.get("corpus") == corpus.info.id]
        if filters:
            corpus = corpus.without(filters, "trained on by this model")
    for column, merges in choice.merge.items():
        if isinstance(merges, Mapping):
            corpus = corpus.merged(merges, column=column)
    if own := {new: old for new, old in choice.merge.items() if not isinstance(old, Mapping)}:
        corpus = corpus.merged(own, column=label)
    return asked_corpus(corpus, choice.emotions, label, study.evaluate.keep_unknown_speakers)


def opened(choice: CorpusChoice) -> Corpus:
    """A corpus as it is, before any filter."""
    given: dict[str, object] = {name: getattr(choice, name) for name in ("columns", "labels", "pattern")}
    given["audio_root"] = _root(choice.audio_root)
    options = {name: value for name, value in given.items() if value} | dict(choice.options)
    return open_corpus(choice.id, _root(choice.root), **options)


def asked_corpus(corpus: Corpus, emotions: Sequence[str], label: str, keep_unknown_speakers: bool = False) -> Corpus:
    """The clips with the labels that are asked about (all, where none is named).

    Unknown voices among known ones are left out, unless they are to be kept.
    """
    if emotions:
        corpus = corpus.keep(emotions, column=label)
    if not corpus.clips:
        counts = Counter(lost.why for lost in corpus.lost).most_common(4)
        why = "; ".join(f"{count} x {why}" for why, count in counts) or "no files"
        raise StudyError(f"no clip of corpus {corpus.info.id!r} is left after the filters: {why}")
    return corpus.with_known_speakers(keep_unknown_speakers)


def _root(root: str) -> str | None:
    """Fill in ``~`` and environment variables, so that a study can be shared between machines."""
    filled = os.path.expanduser(os.path.expandvars(root))
    unset = re.findall(r"\$\{?(\w+)\}?", filled)
    if unset and not os.path.exists(filled):
        raise StudyError(
            f"corpora.root {root!r}: the environment variable {unset[0]} is not set: set it (export {unset[0]}=FOLDER), or "
            "write the folder itself"
        )
    return filled or None


def study_options(study: Study, corpus: Corpus) -> tuple[str, ...]:
    """The labels that are offered as options, in canonical order."""
    label = study.identify.label
    found = {clip.labels[label] for clip in corpus.clips if label in clip.labels}
    options = in_order(found)
    wanted: dict[str, str] = {}
    for name in study.corpus.emotions:
        if (first := wanted.setdefault(as_label(label, name), name)) != name:
            raise StudyError(f"corpora.emotions {first!r} and {name!r} are one {label}: give one of them")
    if gone := sorted(wanted.keys() - found):
        raise StudyError(
            f"corpora.emotions {gone}: no clip with these labels is left after the filters, so they cannot be asked "
            "about; change `where`, or take them out of `emotions`"
        )
    if len(options) < 2:
        raise StudyError(f"only {list(options)} can be asked about: at least two labels of column {label!r} are needed")
    if len(options) > len(LETTERS):
        raise StudyError(
            f"column {label!r} has {len(options)} labels ({', '.join(options[:4])} …), and there are {len(LETTERS)} "
            "letters: choose some with corpora.emotions = [...], or take labels together with corpora.merge"
        )
    return options


def options_of(items: pl.DataFrame) -> tuple[str, ...]:
    """The labels that were offered, in canonical order."""
    return in_order({option for shown in items["options"].drop_nulls().to_list() for option in shown})


def candidate_items(
    study: Study, corpus: Corpus, log: Log | None = None, assigned: ByClip | None = None
) -> pl.DataFrame:
    """List every clip as an item, in listening order; clips that were lost follow with their status.

    The order goes round the groups of equal label and speaker in turn, each in the order of a seeded hash of
    the clip, so that every emotion and speaker is heard early and a run can stop when it has enough.

    Args:
        assigned: folds of an earlier time (:func:`folds_assigned_before`).

    Returns:
        the items table (see docs/run-folder.md); ``status`` is null for items that are still to be heard.
    """
    label, options, log = study.identify.label, study_options(study, corpus), log or Log("quiet")
    for sentence in corpus.told:
        log.say(f"{sentence}.")
    for why, times in Counter(lost.why for lost in corpus.lost if "is not known" in lost.why).items():
        log.say(f"{_are(times)} left out: {why}")
    clips = [clip for clip in corpus.clips if label in clip.labels]
    sums = {}
    with Checksums("sounds.json") as remembered, log.stage("reading files", len(clips), "clips"):
        for clip in clips:
            sums[clip.id] = _checksum(clip, remembered, study.question.presentation)
            log.step()
    side, fold = study_sides(study, corpus, clips, sums, assigned)
    known = {clip: content for clip, content in sums.items() if content != MISSING and clip in fold}
    copies = same_recordings(corpus.info, clips, known, fold)
    if copies:
        log.say(f"{_are(len(copies))} left out: the same recording as another one, such as {min(copies)}")
    left_out = {clip.id: f"no {label}" for clip in corpus.clips if label not in clip.labels}
    left_out |= {clip.id: "on neither side" for clip in clips if clip.id not in side}
    left_out |= dict.fromkeys(_unsaid(study, clips), "no transcript is known") | copies
    clips = _listening_order([clip for clip in clips if clip.id not in left_out], label, study.seed)
    beyond = _beyond(clips, side, label, study.corpus.clips_per_emotion)
    # items that may be heard come first: their numbers are rows of the activity store
    clips.sort(key=lambda clip: clip.id in beyond)
    about = [(clip.labels[label], clip.speaker or "", sums[clip.id]) for clip in clips]
    many = 1 if writes(study) else study.question.letter_orders
    orders = letter_orders(about, options, many, study.seed)
    declared = schema("items").keys() - LABELS_CALLED.keys()
    extra = sorted({name for clip in corpus.clips for name in clip.labels} - declared)
    left = {"status": "not needed", "why": "beyond clips_per_emotion"}
    rows: list[dict[str, object]] = []
    for clip, asked in zip(clips, orders, strict=True):
        # every wording in the same letter orders, so that wordings differ in nothing else
        for wording, (order, shown) in product(asked_wordings(study), enumerate(asked)):
            row = _row(study, corpus, clip, extra) | {"item": len(rows), "fold": fold[clip.id], "side": side[clip.id]}
            row |= {"wording": wording, "options": list(shown), "order": order, "checksum": sums[clip.id]}
            rows.append(row | (left if clip.id in beyond else {}))
    for clip in (clip for clip in corpus.clips if clip.id in left_out):
        found = {"item": len(rows), "status": "excluded", "why": left_out[clip.id]}
        rows.append(_row(study, corpus, clip, extra) | found)
    for lost in corpus.lost:
        row = _row(study, corpus, lost.clip, extra) if lost.clip else {"corpus": corpus.info.id}
        found = {"clip": lost.id, "path": str(lost.path), "status": lost.status, "why": lost.why}
        rows.append({**row, "item": len(rows), **found})
    types = {name: dtype for name, dtype in schema("items").items() if name not in SETTLED}
    types |= dict.fromkeys((LABELS_CALLED.get(name, name) for name in extra), pl.String)
    items = pl.DataFrame([{name: row.get(name) for name in types} for row in rows], schema=types)
    if shared := shared_speakers(items):
        log.say(told_shared(shared))
    return items


def _are(count: int) -> str:
    return "1 clip is" if count == 1 else f"{count} clips are"


LABELS_CALLED = {"status": "status_label"}
"""Label columns that are called as a column of items is, and how they are stored."""


def _row(study: Study, corpus: Corpus, clip: Clip, extra: Sequence[str]) -> dict[str, object]:
    label, wordings = study.identify.label, asked_wordings(study)
    row = {name: getattr(clip, name) for name in ("speaker", "session", "split")}
    # a table or a pattern may name a label column so
    row |= {"block": clip.block or clip.labels.get("block") or clip.speaker}
    row |= {"clip": clip.id, "path": str(clip.path), "corpus": corpus.info.id, "transcript": spoken(clip)}
    row |= {LABELS_CALLED.get(name, name): clip.labels.get(name) for name in ("emotion", *extra)}
    # a clip that is not asked has no wording where there are several
    wording = wordings[0] if len(wordings) == 1 else None
    return row | {"label": label, "truth": clip.labels.get(label), "wording": wording}


def _beyond(clips: Sequence[Clip], side: ByClip, label: str, most: int | None) -> set[str]:
    """Clips beyond the most that are heard per label and side."""
    places: dict[tuple[str, str], Iterator[int]] = defaultdict(count)
    placed = {clip.id: next(places[clip.labels[label], side[clip.id]]) for clip in clips}
    return {clip for clip, place in placed.items() if most is not None and place >= most}


def _listening_order(clips: list[Clip], label: str, seed: int) -> list[Clip]:
    places: dict[tuple[str, str], Iterator[int]] = defaultdict(count)
    shuffled = sorted(clips, key=lambda c: seeded_hash(seed, c.id))
    turns = {clip.id: next(places[clip.speaker or "", clip.labels[label]]) for clip in shuffled}
    return sorted(clips, key=lambda c: (turns[c.id], seeded_hash(seed, "order", c.id)))


def _unsaid(study: Study, clips: Sequence[Clip]) -> set[str]:
    """Clips that cannot be asked since nobody knows what is said in them; not all of them may be so."""
    if not PRESENTATIONS[study.question.presentation].needs_words:
        return set()
    unsaid = {clip.id for clip in clips if not spoken(clip)}
    if len(unsaid) == len(clips):
        raise StudyError(
            f"question.presentation {study.question.presentation!r}: no clip of corpus {study.corpus.id!r} has a "
            "transcript, nor a label in the column statement or word; name its column in corpora.columns, or leave this out"
        )
    return unsaid


def _checksum(clip: Clip, remembered: Checksums, presentation: str) -> str:
    if presentation == "text":  # all questions stand in one file
        return digest([clip.id, dict(clip.labels)])
    # a missing file is found again, and quarantined with its reason, when it is listened to
    try:
        return remembered.of(clip.path)
    except OSError:
        return MISSING


def study_sides(
    study: Study, corpus: Corpus, clips: Sequence[Clip], sums: ByClip, assigned: ByClip | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Which side every clip is on, and its fold; clips on neither side are missing.

    Args:
        assigned: clip id -> fold of an earlier time (:func:`folds_assigned_before`).

    Raises:
        StudyError: a side is empty, a clip would be on both, or a speaker, where the study does not allow that.
        ValueError: folds that the corpus cannot have.
    """
    if study.identify.split == "official":
        return _official(corpus, clips)
    if not study.identify.where:
        folds = study_folds(study, clips, corpus.info.folds, sums, assigned)
        return {clip.id: "both" for clip in clips}, folds
    filters = {"identify": study.identify.where, "evaluate": study.evaluate.where}
    sides = {name: {clip.id for clip in corpus.where(where).clips} for name, where in filters.items()}
    if both := sorted(sides["identify"] & sides["evaluate"]):
        found = f"{len(both)} clips are on both sides, such as {both[0]!r}"
        raise StudyError(f"{found}: make identify.where and evaluate.where exclude each other")
    if empty := [name for name, found in sides.items() if not found]:
        raise StudyError(f"{empty[0]}.where {dict(filters[empty[0]])} leaves no clip")
    side = {clip.id: name for name, found in sides.items() for clip in clips if clip.id in found}
    _keep_speakers_apart(study, clips, side, "sides")
    return side, dict(side)


def _official(corpus: Corpus, clips: Sequence[Clip]) -> tuple[dict[str, str], dict[str, str]]:
    side = {clip.id: placed for clip in clips if (placed := official_side(clip.split))}
    for name, meant in (("identify", "train"), ("evaluate", "test")):
        if name not in side.values():
            there = listed({clip.split for clip in clips if clip.split}) or "none"
            raise StudyError(
                f'identify.split = "official": no clip of {corpus.info.id} is in a split such as {meant} (its splits: '
                f"{there}); leave it out to cross-fit over speakers"
            )
    return side, dict(side)


def study_folds(
    study: Study, clips: Sequence[Clip], usual: str, sums: ByClip | None = None, assigned: ByClip | None = None
) -> dict[str, str]:
    """The fold of every clip under cross-fitting: clip id -> fold; errors are those of :func:`study_sides`.

    Args:
        usual: the column that takes the place of "speaker" in this corpus (MELD's characters, say).
        assigned: clip id -> fold of an earlier time.
    """
    folds = fold_column(clips, study.identify.folds, usual)
    fold = assign_folds(clips, folds, study.seed, sums, study.identify.label, assigned)
    _keep_speakers_apart(study, clips, fold, "folds")
    return fold


def folds_assigned_before(run: RunFolder, study: Study) -> dict[str, str]:
    """The folds that a begun run has assigned, so that files that were added move no speaker: clip id -> fold.

    They are empty where the run has assigned none, or by another seed or rule.
    """
    if not (run / "items.parquet").is_file() or not (run / "study.toml").is_file():
        return {}
    try:
        before = read_study(run / "study.toml", imports=False)
    except StudyError:
        # written by a version whose studies have other fields
        return {}
    rule = attrgetter("identify.folds", "identify.split", "identify.where", "seed")
    if rule(before) != rule(study) or study.identify.where or study.identify.split:
        return {}
    return folds_of(run.read_table("items"))


def folds_of(items: pl.DataFrame) -> dict[str, str]:
    """The fold of every clip that has one: clip -> fold."""
    return dict(items.drop_nulls("fold").unique("clip", maintain_order=True).select("clip", "fold").iter_rows())


def _keep_speakers_apart(study: Study, clips: Sequence[Clip], place: ByClip, what: str) -> None:
    places = {(clip.speaker, place[clip.id]) for clip in clips if clip.speaker and clip.id in place}
    counts = Counter(speaker for speaker, _ in places)
    shared = sorted(speaker for speaker, count in counts.items() if count > 1)
    # one voice in the whole corpus and a number of folds: the user chose to cross-fit over its recordings
    one_voice = len(counts) == 1 and isinstance(study.identify.folds, int)
    if shared and not one_voice and not study.evaluate.allow_shared_speakers:
        raise StudyError(
            f"{len(shared)} speaker(s) are in several {what}, such as {shared[0]!r}, so that neurons would be tested on "
            "voices that helped to find them: choose other folds or filters, or set "
            "evaluate.allow_shared_speakers = true, which the report will state"
        )


def shared_speakers(items: pl.DataFrame) -> list[str]:
    """The speakers of an items table that are in several folds, or on both sides."""
    placed = items.drop_nulls(["speaker", "fold"]).filter(pl.col("status").ne_missing("excluded"))
    return placed.group_by("speaker").agg(pl.n_unique("fold")).filter(pl.col("fold") > 1)["speaker"].sort().to_list()


def told_shared(shared: Sequence[str]) -> str:
    """What the user is told of speakers on both sides.

    Example:
        >>> told_shared(["Joey", "Ross"])
        'speakers shared: 2 (Joey, Ross): neurons are also tested on voices that helped to find them'
    """
    who = f"{len(shared)} ({listed(shared)})"
    return f"speakers shared: {who}: neurons are also tested on voices that helped to find them"
