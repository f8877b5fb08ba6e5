"""Which clips find neurons and which test them: folds, fixed sides, and what may not stand on both."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import polars as pl

from emoscope.corpora import assign_folds
from emoscope.corpora.clip import listed
from emoscope.corpora.folds import fold_column, official_side, same_recordings
from emoscope.experiments.schema import Study, StudyError
from emoscope.experiments.study import read_study

if TYPE_CHECKING:
    from emoscope.corpora import Clip, Corpus
    from emoscope.runs import RunFolder

MISSING = "missing"
"""Checksum of a file that cannot be read."""


def study_sides(
    study: Study, corpus: Corpus, clips: Sequence[Clip], sums: Mapping[str, str], dealt: Mapping[str, str] | None = None
) -> tuple[dict[str, str], dict[str, str]]:
    """Which side every clip is on, and its fold; clips on neither side are missing.

    Args:
        dealt: clip id -> fold of an earlier time (:func:`folds_dealt_before`).

    Raises:
        StudyError: a side is empty, a clip would be on both, or a speaker, where the study does not allow that.
        ValueError: folds that the corpus cannot have.
    """
    if study.identify.split == "official":
        return _official(corpus, clips)
    if not study.identify.where:
        folds = study_folds(study, clips, sums, corpus.info.folds, dealt)
        return {clip.id: "both" for clip in clips}, folds
    identify = {clip.id: clip for clip in corpus.where(study.identify.where).clips}
    evaluate = {clip.id: clip for clip in corpus.where(study.evaluate.where).clips}
    if both := sorted(identify.keys() & evaluate.keys()):
        raise StudyError(f"{len(both)} clips are on both sides, such as {both[0]!r}: "
                         "make identify.where and evaluate.where exclude each other")  # fmt: skip
    if not identify or not evaluate:
        empty = "identify" if not identify else "evaluate"
        raise StudyError(f"{empty}.where {dict(getattr(study, empty).where)} leaves no clip")
    kept = {clip.id for clip in clips}
    side = {i: "identify" for i in identify if i in kept} | {i: "evaluate" for i in evaluate if i in kept}
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
    study: Study,
    clips: Sequence[Clip],
    sums: Mapping[str, str] | None = None,
    usual: str = "speaker",
    dealt: Mapping[str, str] | None = None,
) -> dict[str, str]:
    """The fold of every clip under cross-fitting: clip id -> fold.

    Args:
        usual: the column that takes the place of "speaker" in this corpus (MELD's characters, say).
        dealt: clip id -> fold of an earlier time.

    Raises:
        StudyError: a speaker would be in two folds, and the study does not allow it.
        ValueError: folds that the corpus cannot have.
    """
    folds = fold_column(clips, study.identify.folds, usual)
    fold = assign_folds(clips, folds, study.seed, sums, study.identify.label, dealt)
    _keep_speakers_apart(study, clips, fold, "folds")
    return fold


def folds_dealt_before(run: RunFolder, study: Study) -> dict[str, str]:
    """The folds that a begun run has dealt, so that files that were added move no speaker: clip id -> fold.

    They are empty where the run has dealt none, or by another seed or rule.
    """
    if not (run / "items.parquet").is_file() or not (run / "study.toml").is_file():
        return {}
    try:
        before = read_study(run / "study.toml")
    except StudyError:
        # written by a version whose studies have other fields
        return {}
    if [_rule(before), before.seed] != [_rule(study), study.seed] or study.identify.where or study.identify.split:
        return {}
    items = run.read_table("items").drop_nulls("fold").unique("clip")
    return dict(zip(items["clip"], items["fold"], strict=True))


def _rule(study: Study) -> tuple[object, ...]:
    return study.identify.folds, study.identify.split, bool(study.identify.where)


def _keep_speakers_apart(study: Study, clips: Sequence[Clip], place: Mapping[str, str], what: str) -> None:
    places: dict[str, set[str]] = defaultdict(set)
    for clip in clips:
        if clip.speaker and clip.id in place:
            places[clip.speaker].add(place[clip.id])
    shared = sorted(speaker for speaker, found in places.items() if len(found) > 1)
    # one voice in the whole corpus and a number of folds: the user chose to cross-fit over its recordings
    one_voice = len(places) == 1 and isinstance(study.identify.folds, int)
    if shared and not one_voice and not study.evaluate.allow_shared_speakers:
        raise StudyError(
            f"{len(shared)} speaker(s) are in several {what}, such as {shared[0]!r}, so that neurons would be tested on "
            "voices that helped to find them: choose other folds or filters, or set "
            "evaluate.allow_shared_speakers = true, which the report will state"
        )


def shared_speakers(items: pl.DataFrame) -> list[str]:
    """The speakers of an items table that are in several folds, or on both sides."""
    placed = items.drop_nulls(["speaker", "fold"]).filter(pl.col("fate").is_null() | (pl.col("fate") != "excluded"))
    counted = placed.group_by("speaker").agg(pl.col("fold").n_unique().alias("folds"))
    return counted.filter(pl.col("folds") > 1)["speaker"].sort().to_list()


def told_shared(shared: Sequence[str]) -> str:
    """What the user is told of speakers on both sides.

    Example:
        >>> told_shared(["Joey", "Ross"])
        'speakers shared: 2 (Joey, Ross): neurons are also tested on voices that helped to find them'
    """
    return (
        f"speakers shared: {len(shared)} ({listed(shared)}): neurons are also tested on voices that helped to find them"
    )


def copied_recordings(
    corpus: Corpus, clips: Sequence[Clip], fold: Mapping[str, str], sums: Mapping[str, str]
) -> dict[str, str]:
    """Clips whose very recording is also that of another clip on some side: clip id -> why it is left out."""
    known = {clip: content for clip, content in sums.items() if content != MISSING and clip in fold}
    return same_recordings(corpus.info, clips, known, fold)
