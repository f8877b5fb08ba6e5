"""The corpora whose labels stand in their file names.

A new one is one more entry in :data:`GRAMMARS`, its codes in :mod:`emoscope.emotions`, and its row in docs/corpora.md.
Counts are those of complete copies; where a licence could not be established, the entry sends to the home page.
"""

from __future__ import annotations

from emoscope.corpora import sentences
from emoscope.corpora.clip import CorpusInfo
from emoscope.corpora.grammar import Grammar
from emoscope.corpora.notes import esd_notes, nemo_notes
from emoscope.emotions import CODES

GENDER = {"F": "female", "M": "male", "f": "female", "m": "male"}
EMODB_MEN = ("03", "10", "11", "12", "15")
EMODB_WOMEN = ("08", "09", "13", "14", "16")
SEVEN = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
ESD_BLOCK = 350
"""ESD numbers its recordings emotion by emotion, with so many sentences each."""

_ENTRIES = (
    Grammar(
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
    Grammar(
        CorpusInfo(
            "ravdess",
            "Ryerson Audio-Visual Database of Emotional Speech and Song",
            licence="CC BY-NC-SA 4.0",
            citation="Livingstone and Russo 2018, PLoS ONE 13(5): e0196391",
            language="English",
            url="https://doi.org/10.5281/zenodo.1188976",
            expected={"clips": 1440, "speakers": 24, **dict.fromkeys((*SEVEN, "calm"), 192), "neutral": 96},
        ),
        "03-01-05-02-01-02-24",
        r"(?P<modality>0[123])-(?P<channel>0[12])-(?P<emotion>0[1-8])-(?P<intensity>0[12])"
        r"-(?P<statement>0[12])-(?P<take>0[12])-(?P<speaker>\d\d)",
        {
            "emotion": CODES["ravdess"],
            "modality": {"01": "audio and video", "02": "video only", "03": "audio only"},
            "channel": {"01": "speech", "02": "song"},
            "intensity": {"01": "normal", "02": "strong"},
            "statement": sentences.RAVDESS,
            "take": {"01": "1", "02": "2"},
        },
        spoken="statement",
        of_speaker={"gender": {f"{actor:02d}": "male" if actor % 2 else "female" for actor in range(1, 25)}},
    ),
    Grammar(
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
    Grammar(
        CorpusInfo(
            "crema-d",
            "Crowd-sourced Emotional Multimodal Actors Dataset",
            licence="Open Database License",
            citation="Cao et al. 2014, IEEE Transactions on Affective Computing 5(4)",
            language="English",
            url="https://github.com/CheyneyComputerScience/CREMA-D",
            expected={
                "clips": 7442, "speakers": 91, "anger": 1271, "disgust": 1271, "fear": 1271, "happiness": 1271,
                "neutral": 1087, "sadness": 1271,
            },
        ),
        "1001_DFA_ANG_XX",
        r"(?P<speaker>\d{4})_(?P<statement>[A-Z]{3})_(?P<emotion>[A-Z]{3})_(?P<intensity>LO|MD|HI|XX?)",
        {
            "emotion": CODES["crema-d"],
            # one published file ends in a single X
            "intensity": {"LO": "low", "MD": "medium", "HI": "high", "XX": "unspecified", "X": "unspecified"},
            "statement": sentences.CREMA_D,
        },
        spoken="statement",
    ),
    Grammar(
        CorpusInfo(
            "emodb",
            "Berlin Database of Emotional Speech",
            licence="free for research, see its home page",
            citation="Burkhardt et al. 2005, Interspeech",
            language="German",
            url="http://emodb.bilderbar.info",
            expected={
                "clips": 535, "speakers": 10, "anger": 127, "boredom": 81, "disgust": 46, "fear": 69,
                "happiness": 71, "neutral": 79, "sadness": 62,
            },
        ),
        "03a01Fa",
        r"(?P<speaker>\d\d)(?P<statement>[ab]\d\d)(?P<emotion>[A-Z])(?P<take>[a-z])",
        {"emotion": CODES["emodb"], "statement": sentences.EMODB},
        spoken="statement",
        of_speaker={"gender": {**dict.fromkeys(EMODB_MEN, "male"), **dict.fromkeys(EMODB_WOMEN, "female")}},
    ),
    Grammar(
        CorpusInfo(
            "tess",
            "Toronto Emotional Speech Set",
            licence="see its home page",
            citation="Dupuis and Pichora-Fuller 2011, Canadian Acoustics 39(3)",
            language="English",
            url="https://tspace.library.utoronto.ca/handle/1807/24487",
            expected={"clips": 2800, "speakers": 2, **dict.fromkeys(SEVEN, 400)},
        ),
        "OAF_back_angry",
        r"(?P<speaker>OAF?|YAF)_(?P<word>[a-z]+)_(?P<emotion>[a-z]+)",
        # the release holds one OA_bite_neutral
        {"emotion": CODES["tess"], "speaker": {"OAF": "OAF", "YAF": "YAF", "OA": "OAF"}},
        of_speaker={"gender": {"OAF": "female", "YAF": "female"}},
        spoken="Say the word {word}",
    ),
    Grammar(
        CorpusInfo(
            "savee",
            "Surrey Audio-Visual Expressed Emotion",
            licence="for research, by registration",
            citation="Jackson and Haq 2011, University of Surrey",
            language="English",
            url="http://personal.ee.surrey.ac.uk/Personal/P.Jackson/SAVEE",
            expected={"clips": 480, "speakers": 4, **dict.fromkeys(SEVEN, 60), "neutral": 120},
        ),
        "DC_a01",
        # as released a folder per speaker (DC/a01), in many copies one folder (DC_a01)
        r"(?P<speaker>DC|JE|JK|KL)[_/](?P<emotion>a|d|f|h|n|sa|su)(?P<number>\d\d)",
        {"emotion": CODES["savee"]},
        of_speaker={"gender": dict.fromkeys(("DC", "JE", "JK", "KL"), "male")},
        clip_id="{speaker}_{emotion}{number}",
    ),
    Grammar(
        CorpusInfo(
            "emovo",
            "EMOVO: Italian emotional speech",
            licence="see its home page",
            citation="Costantini et al. 2014, LREC",
            language="Italian",
            url="http://voice.fub.it/activities/corpora/emovo/index.html",
            expected={"clips": 588, "speakers": 6, **dict.fromkeys(SEVEN, 84)},
        ),
        "dis-f1-b1",
        r"(?P<emotion>[a-z]{3})-(?P<speaker>[fm]\d)-(?P<sentence>[bdln]\d)",
        {"emotion": CODES["emovo"]},
        of_speaker={"gender": {f"{sex}{number}": GENDER[sex] for sex in "fm" for number in (1, 2, 3)}},
    ),
    Grammar(
        CorpusInfo(
            "esd",
            "Emotional Speech Dataset",
            licence="for research, by signed form",
            citation="Zhou, Sisman, Liu and Li 2022, Speech Communication 137",
            language="English and Chinese",
            url="https://hltsingapore.github.io/ESD",
            expected={
                "clips": 35000, "speakers": 20, "anger": 7000, "happiness": 7000, "neutral": 7000, "sadness": 7000,
                "surprise": 7000,
            },
        ),
        "0011/Angry/0011_000351",
        r"(?:(?P<folder>Angry|Happy|Neutral|Sad|Surprise)/(?:(?P<split>train|test|evaluation)/)?)?"
        r"(?P<speaker>00(?:0[1-9]|1\d|20))_(?P<emotion>(?P<sentence>\d{6}))",
        {
            "emotion": {
                f"{block * ESD_BLOCK + place:06d}": emotion
                for block, emotion in enumerate(("neutral", "anger", "happiness", "sadness", "surprise"))
                for place in range(1, ESD_BLOCK + 1)
            },
            "sentence": {f"{n:06d}": str((n - 1) % ESD_BLOCK + 1) for n in range(1, 5 * ESD_BLOCK + 1)},
        },
        of_speaker={"language": {f"{n:04d}": "Chinese" if n <= 10 else "English" for n in range(1, 21)}},
        notes=esd_notes,
    ),
    Grammar(
        CorpusInfo(
            "nemo",
            "nEMO: emotional speech in Polish",
            licence="CC BY-NC-SA 4.0",
            citation="Christop 2024, LREC-COLING",
            language="Polish",
            url="https://github.com/amu-cai/nEMO",
            expected={"clips": 4481, "speakers": 9},
        ),
        "SM0_anger_71",
        r"(?P<speaker>[A-Z]{2}\d)_(?P<emotion>[a-z]+)_(?P<sentence>\d+)",
        {"emotion": CODES["nemo"]},
        notes=nemo_notes,
    ),
    Grammar(
        CorpusInfo(
            "subesco",
            "SUST Bangla Emotional Speech Corpus",
            licence="CC BY 4.0",
            citation="Sultana et al. 2021, PLoS ONE 16(4): e0250173",
            language="Bengali",
            url="https://doi.org/10.5281/zenodo.4526477",
            may_embed_audio=True,
            expected={"clips": 7000, "speakers": 20, **dict.fromkeys(SEVEN, 1000)},
        ),
        "F_01_OISHI_S_1_ANGRY_1",
        # speakers are numbered anew for each gender; one published name ends in ]
        r"(?P<speaker>[FM]_\d\d)_[A-Z]+_S_(?P<sentence>\d+)_(?P<emotion>[A-Z]+)_(?P<take>\d)\]?",
        {"emotion": CODES["subesco"]},
        of_speaker={"gender": {f"{sex}_{number:02d}": GENDER[sex] for sex in "FM" for number in range(1, 11)}},
    ),
    Grammar(
        CorpusInfo(
            "turev",
            "TurEV-DB: Turkish emotion voice database",
            licence="CC BY-NC-ND 4.0",
            citation="TurEV-DB, https://github.com/Xeonen/TurEV-DB",
            language="Turkish",
            url="https://github.com/Xeonen/TurEV-DB",
            expected={"clips": 1735, "speakers": 6, "anger": 487, "happiness": 357, "sadness": 483, "calm": 408},
        ),
        "1157_kz_acik",
        r"(?:(?P<folder>Angry|Calm|Happy|Sad)/)?(?P<speaker>\d{4})_(?P<emotion>[a-z]{2})_(?P<word>\w+)",
        {"emotion": CODES["turev"]},
        spoken="word",
    ),
)  # fmt: skip

GRAMMARS = {grammar.info.id: grammar for grammar in _ENTRIES}
"""Corpus id -> how it names its files."""
