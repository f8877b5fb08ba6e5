"""Corpora whose labels stand in the file names: one table of grammars, one reader.

A new corpus of this kind is one more entry in :data:`GRAMMARS`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from emoscope.corpora.clip import FIELDS, Clip, CorpusInfo, Lost
from emoscope.corpora.corpus import Corpus
from emoscope.corpora.files import existing_folder, sound_files, within
from emoscope.emotions import CODES


@dataclass(frozen=True)
class Grammar:
    """How one corpus names its files.

    Attributes:
        info: the corpus.
        example: a file name that follows the grammar, for messages.
        pattern: regular expression over the name without its ending. Groups named ``speaker``, ``session``
            and ``split`` fill those fields, ``transcript`` the transcript; every other group is a label column.
        values: group -> code -> label; a group without an entry keeps its text. A code that is missing from
            an entry makes the name one that does not follow the grammar.
        spoken: column whose label is what is said, used as the transcript.
        gender: speaker -> gender, where the speaker's code tells it.
    """

    info: CorpusInfo
    example: str
    pattern: str
    values: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    spoken: str | None = None
    gender: Mapping[str, str] = field(default_factory=dict)

    def read(self, path: Path) -> Clip | None:
        """The clip that a file's name describes, or ``None`` where the name does not follow the grammar."""
        match = re.fullmatch(self.pattern, path.stem)
        if match is None:
            return None
        found: dict[str, str] = {}
        for group, text in match.groupdict().items():
            if text is None:
                continue
            codes = self.values.get(group)
            if codes is not None and text not in codes:
                return None
            found[group] = codes[text] if codes is not None else text
        fields = {name: found.pop(name, None) for name in (*FIELDS, "transcript")}
        labels = {"emotion": found.pop("emotion"), **found}
        if fields["speaker"] and fields["speaker"] in self.gender:
            labels["gender"] = self.gender[fields["speaker"]]
        if self.spoken:
            fields["transcript"] = labels[self.spoken]
        return Clip(path.stem, path, labels, **fields)


def open_named(corpus: str, root: str | Path | None = None) -> Corpus:
    """Open a corpus whose labels stand in its file names, found in any depth under ``root``.

    A name that does not follow the grammar, a stray ``._`` file and a second copy of a clip (as in some copies
    of RAVDESS) are excluded with that reason.

    Args:
        corpus: a key of :data:`GRAMMARS`.
        root: the corpus's folder.

    Raises:
        FileNotFoundError: the folder does not exist.
        ValueError: it holds no sound file, or none named as in this corpus.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> open_named("polish", polish_folder()).clips[0].labels
        {'emotion': 'anger', 'word': 'nie', 'take': '1'}
    """
    grammar = GRAMMARS[corpus]
    folder = existing_folder(root, corpus)
    files, lost = sound_files(folder)
    clips: dict[str, Clip] = {}
    for path in files:
        clip = grammar.read(path)
        if clip is None:
            why = f"name does not follow {grammar.example} ({corpus})"
            lost.append(Lost(path.stem, path, "excluded", why))
        elif clip.id in clips:
            why = f"second copy of {within(clips[clip.id].path, folder)}"
            lost.append(Lost(clip.id, path, "excluded", why, clip))
        else:
            clips[clip.id] = clip
    if not clips:
        raise ValueError(
            f"none of the {len(files)} sound files under {folder} is named as in {corpus} (such as {grammar.example})"
        )
    return Corpus(grammar.info, tuple(clips.values()), tuple(lost))


_MALE_EMODB = dict.fromkeys(("03", "10", "11", "12", "15"), "male")
_FEMALE_EMODB = dict.fromkeys(("08", "09", "13", "14", "16"), "female")

GRAMMARS = {
    "polish": Grammar(
        CorpusInfo(
            "polish",
            "Emotions in Polish speech recordings",
            licence="CC BY",
            citation="Mięsikowska and Świsulski 2020, Gdańsk University of Technology, doi 10.34808/h46c-hb44",
            language="Polish",
            url="https://doi.org/10.34808/h46c-hb44",
            may_embed_audio=True,
            expected={"clips": 450, "speakers": 5, "anger": 150, "fear": 150, "neutral": 150},
        ),
        "m1.a_nie_2",
        r"(?P<speaker>[a-z]+\d+)\.(?P<emotion>[asn])_(?P<word>\w+)_(?P<take>\d+)",
        {"emotion": CODES["polish"]},
        spoken="word",
    ),
    "ravdess": Grammar(
        CorpusInfo(
            "ravdess",
            "Ryerson Audio-Visual Database of Emotional Speech and Song",
            licence="CC BY-NC-SA 4.0",
            citation="Livingstone and Russo 2018, PLoS ONE 13(5): e0196391",
            language="English",
            url="https://doi.org/10.5281/zenodo.1188976",
            expected={"clips": 1440, "speakers": 24, "neutral": 96, "calm": 192, "anger": 192, "sadness": 192},
        ),
        "03-01-05-02-01-02-24",
        r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
        r"-(?P<statement>0[12])-(?P<take>0[12])-(?P<speaker>\d\d)",
        {
            "emotion": CODES["ravdess"],
            "modality": {"01": "audio and video", "02": "video only", "03": "audio only"},
            "channel": {"01": "speech", "02": "song"},
            "intensity": {"01": "normal", "02": "strong"},
            "statement": {"01": "Kids are talking by the door", "02": "Dogs are sitting by the door"},
            "take": {"01": "1", "02": "2"},
        },
        spoken="statement",
        gender={f"{actor:02d}": "male" if actor % 2 else "female" for actor in range(1, 25)},
    ),
    "emogator": Grammar(
        CorpusInfo(
            "emogator",
            "EmoGator: non-speech vocal bursts",
            licence="Apache-2.0",
            citation="Buhl 2023, arXiv 2301.00508",
            language="none",
            url="https://arxiv.org/abs/2301.00508",
            may_embed_audio=True,
            expected={"clips": 32130, "speakers": 357},
        ),
        "000001-03-1",
        r"(?P<speaker>\d{6})-(?P<emotion>\d\d)-(?P<take>\d)",
        {"emotion": CODES["emogator"]},
    ),
    "crema-d": Grammar(
        CorpusInfo(
            "crema-d",
            "Crowd-sourced Emotional Multimodal Actors Dataset",
            licence="Open Database License",
            citation="Cao et al. 2014, IEEE Transactions on Affective Computing 5(4)",
            language="English",
            url="https://github.com/CheyneyComputerScience/CREMA-D",
            expected={"clips": 7442, "speakers": 91},
        ),
        "1001_DFA_ANG_XX",
        r"(?P<speaker>\d{4})_(?P<statement>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<intensity>LO|MD|HI|XX?)",
        {
            "emotion": CODES["crema-d"],
            # one published file ends in a single X
            "intensity": {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"},
            "statement": {
                "IEO": "It's eleven o'clock",
                "TIE": "That is exactly what happened",
                "IOM": "I'm on my way to the meeting",
                "IWW": "I wonder what this is about",
                "TAI": "The airplane is almost full",
                "MTI": "Maybe tomorrow it will be cold",
                "IWL": "I would like a new alarm clock",
                "ITH": "I think I have a doctor's appointment",
                "DFA": "Don't forget a jacket",
                "ITS": "I think I've seen this before",
                "TSI": "The surface is slick",
                "WSI": "We'll stop in a couple of minutes",
            },
        },
        spoken="statement",
    ),
    "emodb": Grammar(
        CorpusInfo(
            "emodb",
            "Berlin Database of Emotional Speech",
            licence="free for research, see its home page",
            citation="Burkhardt et al. 2005, Interspeech",
            language="German",
            url="http://emodb.bilderbar.info",
            expected={"clips": 535, "speakers": 10, "anger": 127, "neutral": 79},
        ),
        "03a01Fa",
        r"(?P<speaker>\d\d)(?P<statement>[ab]\d\d)(?P<emotion>[A-Z])(?P<take>[a-z])",
        {
            "emotion": CODES["emodb"],
            "statement": {
                "a01": "Der Lappen liegt auf dem Eisschrank",
                "a02": "Das will sie am Mittwoch abgeben",
                "a04": "Heute abend könnte ich es ihm sagen",
                "a05": "Das schwarze Stück Papier befindet sich da oben neben dem Holzstück",
                "a07": "In sieben Stunden wird es soweit sein",
                "b01": "Was sind denn das für Tüten, die da unter dem Tisch stehen",
                "b02": "Sie haben es gerade hochgetragen und jetzt gehen sie wieder runter",
                "b03": "An den Wochenenden bin ich jetzt immer nach Hause gefahren und habe Agnes besucht",
                "b09": "Ich will das eben wegbringen und dann mit Karl was trinken gehen",
                "b10": "Die wird auf dem Platz sein, wo wir sie immer hinlegen",
            },
        },
        spoken="statement",
        gender={**_MALE_EMODB, **_FEMALE_EMODB},
    ),
}
"""Corpus id -> how it names its files."""
