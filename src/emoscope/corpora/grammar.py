"""How a corpus names its files: what a file's path says of its clip."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from emoscope.corpora.clip import FIELDS, Clip, CorpusInfo
from emoscope.corpora.filters import as_label

Notes = Mapping[str, Mapping[str, str]]
"""Clip id -> what a file beside the recordings says of it: field or label column -> text."""


@dataclass(frozen=True)
class Grammar:
    r"""How one corpus names its files.

    Attributes:
        info: the corpus.
        example: a file name that follows the grammar, for messages.
        pattern: regular expression over the end of the path without the file's ending; it begins at a folder's or
            the file's name. Groups named ``speaker``, ``session`` and ``split`` fill those fields, ``transcript``
            the transcript; ``folder`` is a folder whose word must mean the emotion that the name gives; every
            other group is a label column.
        values: group -> code -> label; a group without an entry keeps its text. A code that is missing from
            an entry makes the name one that does not follow the grammar.
        spoken: column whose label is what is said, used as the transcript; or a sentence around it: "Say {word}".
        of_speaker: label column -> speaker -> label, for what the speaker's code tells.
        clip_id: format of the clip's id from the groups' texts; empty: the file's name.
        notes: reads what files beside the recordings say, given the corpus's folder.

    Example:
        >>> info = CorpusInfo("mine", "My recordings")
        >>> grammar = Grammar(info, "anna-joy-3", r"(?P<speaker>\w+)-(?P<emotion>\w+)-\d+", {"emotion": {"joy": "happiness"}})
        >>> grammar.read(Path("day1/anna-joy-3.wav")).speaker, grammar.read(Path("day1/anna-3.wav"))
        ('anna', None)
    """

    info: CorpusInfo
    example: str
    pattern: str
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    spoken: str | None = None
    of_speaker: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    clip_id: str = ""
    notes: Callable[[Path], Notes] | None = None

    @cached_property
    def _expression(self) -> re.Pattern[str]:
        # as few folders as possible are skipped, so that optional folders of the pattern are seen
        return re.compile(rf"(?:.*?/)??(?:{self.pattern})", re.DOTALL)

    def read(self, path: Path) -> Clip | None:
        """The clip that a file's path describes, or ``None`` where it does not follow the grammar."""
        match = self._expression.fullmatch(path.as_posix().removesuffix(path.suffix))
        if match is None:
            return None
        found: dict[str, str] = {}
        for group, text in match.groupdict().items():
            codes = self.values.get(group)
            if text is None or group == "folder":
                continue
            if codes is not None and text not in codes:
                return None
            found[group] = codes[text] if codes is not None else text
        fields = {name: found.pop(name, None) for name in (*FIELDS, "transcript")}
        labels = {"emotion": found.pop("emotion"), **found}
        for column, known in self.of_speaker.items():
            label = known.get(fields["speaker"] or "")
            if label:
                labels[column] = label
        if self.spoken:
            fields["transcript"] = self.spoken.format(**labels) if "{" in self.spoken else labels[self.spoken]
        name = self.clip_id.format(**match.groupdict()) if self.clip_id else path.stem
        return Clip(name, path, labels, **fields)

    def contradiction(self, clip: Clip) -> str | None:
        """Why a clip's folder and name do not agree on its emotion, or ``None`` where they do."""
        match = self._expression.fullmatch(clip.path.as_posix().removesuffix(clip.path.suffix))
        word = match.groupdict().get("folder") if match else None
        if word is None or as_label("emotion", word) == clip.labels["emotion"]:
            return None
        return f"name says {clip.labels['emotion']}, folder says {word}"
