"""A corpus: clips with labels, and a stated status for every clip that is not used."""

from __future__ import annotations

import html
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from emoscope.corpora.check import Inspection, Progress, Summary, describe, inspect_files
from emoscope.corpora.clip import (
    FIELDS,
    STATUSES,
    Clip,
    CorpusInfo,
    Lost,
    accepted,
    as_label,
    count_values,
    listed,
    nearest_label,
)

if TYPE_CHECKING:
    import polars


Chosen = Mapping[str, Mapping[str, frozenset[str]]]
"""Column -> each part of its filter -> the values that it accepts."""


def _rejecting(chosen: Chosen, clip: Clip) -> Iterator[str]:
    """The columns whose filter accepts no value of a clip."""
    return (name for name, parts in chosen.items() if not any(clip.value(name) in values for values in parts.values()))


def _without_speaker(nobody: int, clips: int, keep: bool = False) -> str:
    """What is told where so many of the clips have no speaker."""
    if nobody == clips:
        both = "the same voice may be on both sides, and intervals are over recordings"
        return f"no clip has a speaker: {both}; a pattern with {{speaker}}, or a column, says who speaks"
    has, are = ("has", "is") if nobody == 1 else ("have", "are")
    lacking = f"{nobody} of {clips} clips {has} no speaker"
    if 2 * nobody < clips and not keep:
        return f"{lacking} and {are} left out: their voices may be those of other clips"
    return f"{lacking}: speakers count as unknown, and the same voice may be on both sides"


@dataclass(frozen=True, repr=False)
class Corpus:
    """Clips in use and clips lost; every method returns a new corpus, and no clip ever leaves without a reason.

    A column or label that the corpus does not have is a ValueError in all of them. ``told`` holds sentences that a user should know of how the corpus was read; checks, dry runs and runs say them.

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> corpus = open_corpus("polish").where({"take": [3, 4, 5]})
        >>> len(corpus), len(corpus.lost), corpus.counts("emotion")
        (270, 180, {'anger': 90, 'fear': 90, 'neutral': 90})
    """

    info: CorpusInfo
    clips: tuple[Clip, ...]
    lost: tuple[Lost, ...] = ()
    told: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        repeated = [clip for clip, times in Counter(clip.id for clip in self.clips).items() if times > 1]
        if repeated:
            raise ValueError(f"corpus {self.info.id} holds the clip id {repeated[0]!r} twice: ids must be unique")

    def __len__(self) -> int:
        return len(self.clips)

    def __iter__(self) -> Iterator[Clip]:
        return iter(self.clips)

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that clips can be filtered by: labels first, then those of speaker, session, split that are known."""
        known = list(self._known())
        labels = dict.fromkeys(column for clip in known for column in clip.labels)
        return (*labels, *(name for name in FIELDS if any(clip.value(name) is not None for clip in known)))

    def where(self, filters: Mapping[str, object]) -> Corpus:
        """Keep the clips that every filter accepts; the others are excluded with the filter as the reason.

        A filter is a column -> a value, a list of values, or inclusive ranges of numbers such as ``"226-250, 301-310"``;
        one that accepts no value of its column is a ValueError.

        Example:
            >>> from emoscope.corpora import open_corpus
            >>> open_corpus("polish").where({"speaker": "1-2", "word": "stop"}).counts("speaker")
            {'m1': 15, 'm2': 15}
        """
        rules = {column: f"where {column} = {wanted}" for column, wanted in filters.items()}
        chosen, unmet = self._chosen(filters), list[str]()
        for column, parts in chosen.items():
            holds = f"{column} holds {listed(self._values(column))}"
            if not any(parts.values()):
                raise ValueError(f"{rules[column]} accepts no clip of {self.info.id}: {holds}")
            missing = [part for part, values in parts.items() if not values]
            unmet += [f"{rules[column]}: {part!r} accepts no clip; {holds}" for part in missing]

        lost = self._lose("excluded", lambda clip: next((rules[column] for column in _rejecting(chosen, clip)), None))
        return replace(lost, told=(*self.told, *unmet))

    def keep(self, labels: Iterable[str], column: str = "emotion") -> Corpus:
        """Keep the clips with these labels; the others are excluded ("label calm is not asked").

        Example:
            >>> from emoscope.corpora import open_corpus
            >>> open_corpus("polish").keep(["angry", "neutral"]).counts("emotion")
            {'anger': 150, 'neutral': 150}
        """
        wanted = self._labels(labels, column)

        def why(clip: Clip) -> str | None:
            value = clip.value(column)
            if value is None:
                return f"no {column} is known"
            return None if value in wanted else f"label {value} is not asked"

        return self._lose("excluded", why)

    def merged(self, merges: Mapping[str, Sequence[str]], column: str = "emotion") -> Corpus:
        """Give several labels one name: new label -> the labels that it replaces, each in one merge.

        Example:
            >>> from emoscope.corpora import open_corpus
            >>> open_corpus("polish").merged({"aroused": ["anger", "fear"]}).counts("emotion")
            {'neutral': 150, 'aroused': 300}
        """
        new: dict[str, str] = {}
        for name, sources in merges.items():
            for label in self._labels(sources, column):
                if label in new:
                    raise ValueError(f"merge: label {label!r} stands in both {new[label]!r} and {name!r}")
                new[label] = as_label(column, name)
        if column in FIELDS:
            labelled = ", ".join(name for name in self.columns if name not in FIELDS)
            raise ValueError(f"merge: {column!r} is not a label column: choose one of {labelled or 'none'}")

        def renamed(clip: Clip) -> Clip:
            value = clip.labels.get(column)
            return replace(clip, labels={**clip.labels, column: new[value]}) if value in new else clip

        return replace(self, clips=tuple(map(renamed, self.clips)))

    def without(self, filters: Sequence[Mapping[str, object]], why: str) -> Corpus:
        """Exclude the clips that any of the filters accepts, as in :meth:`where`; ``{}`` accepts every clip.

        Example:
            >>> from emoscope.corpora import open_corpus
            >>> corpus = open_corpus("polish").without([{"take": [1, 2]}], "trained on by this model")
            >>> len(corpus), corpus.lost[0].why
            (270, 'trained on by this model')
        """
        chosen = [self._chosen(rules) for rules in filters]
        hit = {clip.id for clip in self for rule in chosen if not any(_rejecting(rule, clip))}
        return self._lose("excluded", lambda clip: why if clip.id in hit else None)

    def lose(self, status: str, reasons: Mapping[str, str]) -> Corpus:
        """Exclude or quarantine clips in use, each by its id with its reason.

        Example:
            >>> from emoscope.corpora import open_corpus
            >>> open_corpus("polish").lose("quarantined", {"m1.a_nie_2": "silent"}).lost[0].why
            'silent'
        """
        if status not in STATUSES:
            raise ValueError(f'status {status!r} is not known: give "excluded" or "quarantined"')
        unknown = set(reasons) - {clip.id for clip in self.clips}
        if unknown:
            raise ValueError(f"clip {min(unknown)!r} is not among the {len(self)} clips in use of {self.info.id}")
        return self._lose(status, lambda clip: reasons.get(clip.id))

    def with_known_speakers(self, keep: bool = False) -> Corpus:
        """Leave out the clips without a speaker where fewer clips have none than have one; that is told.

        One clip of an unknown voice makes intervals over speakers void. Where most voices are unknown, and with ``keep``,
        all clips stay.

        Example:
            >>> from emoscope.corpora import open_corpus, polish_folder
            >>> rows = [{"path": f"m1.a_nie_{n}.flac", "emotion": "anger", "speaker": who} for n, who in ((1, "m1"), (2, "m1"), (3, ""))]
            >>> corpus = open_corpus(rows, audio_root=polish_folder()).with_known_speakers()
            >>> len(corpus), corpus.lost[0].why, corpus.told[0][:46]
            (2, 'its speaker is not given', '1 of 3 clips has no speaker and is left out: t')
        """
        nobody = {clip.id: "its speaker is not given" for clip in self.clips if clip.speaker is None}
        if not nobody:
            return self
        kept = self.lose("excluded", nobody) if 2 * len(nobody) < len(self) and not keep else self
        return replace(kept, told=(*self.told, _without_speaker(len(nobody), len(self), keep)))

    def counts(self, column: str = "emotion") -> dict[str, int]:
        """Number of clips in use per value of a column; clips without a value count as ``"unknown"``.

        Example:
            >>> from emoscope.corpora import open_corpus
            >>> open_corpus("polish").counts("speaker")
            {'m1': 90, 'm2': 90, 'm3': 90, 'm4': 90, 'm5': 90}
        """
        self._require([column])
        return count_values(self.clips, column)

    def to_frame(self) -> polars.DataFrame:
        """Table of every clip, used or lost: clip, path, speaker, session, split, the label columns, status, why.

        Example:
            >>> from emoscope.corpora import open_corpus
            >>> open_corpus("polish").keep(["anger", "fear"]).to_frame().columns
            ['clip', 'path', 'speaker', 'session', 'split', 'emotion', 'word', 'take', 'status', 'why']
        """
        import polars

        used = (Lost(clip.id, clip.path, "used", "", clip) for clip in self.clips)
        rows = sorted((*used, *self.lost), key=lambda row: (str(row.path), row.id))
        columns = (*FIELDS, "emotion", *(name for name in self.columns if name not in (*FIELDS, "emotion")))
        data: dict[str, list[str | None]]
        data = {"clip": [row.id for row in rows], "path": [str(row.path) for row in rows]}
        data |= {name: [row.clip.value(name) if row.clip else None for row in rows] for name in columns}
        data |= {"status": [row.status for row in rows], "why": [row.why or None for row in rows]}
        return polars.DataFrame(data, schema=dict.fromkeys(data, polars.String))

    def check(self, progress: Progress | None = None) -> Corpus:
        """Decode every clip, quarantine those whose sound cannot be used, and use each recording once."""
        return self._seen(inspect_files(self, progress))

    def summary(self, progress: Progress | None = None) -> Summary:
        """Describe the corpus in plain values: counts, durations, sample rates, repeated content, reasons.

        ``clips`` is always the sum of ``used``, ``excluded_by_label``, ``excluded_otherwise`` and ``quarantined``.
        Durations are in seconds, sample rates in Hz. ``differences`` are ``[what, expected, found]``; clips that a filter
        excluded count as found. ``missing`` are emotions that it should hold and of which no clip can be used.

        Example:
            >>> from emoscope.corpora import open_corpus
            >>> facts = open_corpus("polish").summary()
            >>> facts["used"], facts["by_emotion"], facts["sample_rates"], facts["expected"]["speakers"]
            (450, {'anger': 150, 'fear': 150, 'neutral': 150}, {'16000': 450}, {'expected': 5, 'found': 5})
        """
        return self.looked_at(progress)[1]

    def looked_at(self, progress: Progress | None = None) -> tuple[Corpus, Summary]:
        """The corpus in which every clip has its status, as a study would use it, and its :meth:`summary`."""
        known = self.with_known_speakers()
        seen = inspect_files(known, progress)
        used = known._seen(seen)
        return used, describe(used, seen)

    def _seen(self, seen: Inspection) -> Corpus:
        return self.lose("quarantined", seen.faults).lose("excluded", seen.copies)

    def __repr__(self) -> str:
        emotions = ", ".join(f"{name} {count}" for name, count in self.counts().items()) if self.clips else "no clips"
        speakers = {clip.speaker for clip in self.clips} - {None}
        known = f"{len(speakers)} speakers" if speakers else "speakers unknown"
        return f"<Corpus {self.info.id}: {self._statuses()}; {emotions}; {known}>"

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{html.escape(name)}</td><td>{n}</td></tr>" for name, n in self.counts().items())
        title = html.escape(f"{self.info.title} ({self.info.id}): {self._statuses()}")
        return f"<table><caption>{title}</caption><tr><th>emotion</th><th>clips</th></tr>{rows}</table>"

    def _statuses(self) -> str:
        statuses = Counter(lost.status for lost in self.lost)
        return f"{len(self)} clips used, {statuses['excluded']} excluded, {statuses['quarantined']} quarantined"

    def _known(self) -> Iterator[Clip]:
        yield from self.clips
        yield from (lost.clip for lost in self.lost if lost.clip is not None)

    def _lose(self, status: str, why: Callable[[Clip], str | None]) -> Corpus:
        reasons = [(clip, why(clip)) for clip in self.clips]
        lost = [Lost(clip.id, clip.path, status, reason, clip) for clip, reason in reasons if reason is not None]
        kept = tuple(clip for clip, reason in reasons if reason is None)
        return replace(self, clips=kept, lost=(*self.lost, *lost))

    def _require(self, columns: Iterable[str]) -> None:
        for column in columns:
            # an empty corpus still has its emotions: none
            if column not in self.columns and column not in ("clip", "emotion"):
                there = ", ".join(self.columns) or "none"
                raise ValueError(f"corpus {self.info.id} has no column {column!r}: it has {there}")

    def _values(self, column: str) -> set[str]:
        return {value for clip in self._known() if (value := clip.value(column)) is not None}

    def _chosen(self, filters: Mapping[str, object]) -> Chosen:
        self._require(filters)
        return {column: accepted(column, wanted, self._values(column)) for column, wanted in filters.items()}

    def _labels(self, labels: Iterable[str], column: str) -> list[str]:
        self._require([column])
        wanted, there = [as_label(column, label) for label in labels], self._values(column)
        for label in wanted:
            if label not in there:
                near = nearest_label(column, label, there)
                hint = f"did you mean {near!r}? " if near else ""
                raise ValueError(f"corpus {self.info.id} has no {column} {label!r}: {hint}it has {listed(there)}")
        return wanted
