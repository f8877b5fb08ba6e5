"""The emotions emoscope knows: canonical names, their order, and the words and codes corpora use for them."""

from __future__ import annotations

import difflib
import unicodedata
from collections.abc import Iterable

CANONICAL = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The seven emotions shown first, in the order of every table and figure; others follow alphabetically."""

ALIASES: dict[str, tuple[str, ...]] = {
    "anger": (
        "ang", "angry", "furious", "rage", "mad", "ärger", "aerger", "verärgert", "wut", "wütend", "wuetend", "zorn",
        "gniew", "złość", "rabbia", "arrabbiato", "colère", "colere", "en colère", "enojo", "enojado", "enfado",
        "enfadado", "ira", "kızgın", "kizgin", "kızgınlık", "öfke", "ofke", "öfkeli", "sinirli", "rag", "raag",
        "生气", "愤怒",
    ),
    "disgust": (
        "dis", "disgusted", "ekel", "angewidert", "wstręt", "wstret", "obrzydzenie", "disgusto", "dégoût", "degout", "asco",
        "tiksinti", "iğrenme", "igrenme", "ghrina", "厌恶",
    ),
    "fear": (
        "fea", "fearful", "afraid", "scared", "angst", "ängstlich", "aengstlich", "furcht", "strach", "lęk", "paura",
        "peur", "miedo", "temor", "korku", "bhoy", "害怕", "恐惧",
    ),
    "happiness": (
        "hap", "happy", "joy", "joyful", "freude", "fröhlich", "froehlich", "glücklich", "gluecklich", "radość",
        "radosc", "szczęście", "gioia", "felicità", "joie", "heureux", "alegría", "alegria", "felicidad", "feliz",
        "mutlu", "mutluluk", "anondo", "khushi", "快乐", "高兴", "开心",
    ),
    "neutral": (
        "neu", "neutrality", "neutralny", "neutralnie", "neutrale", "neutre", "neutro", "nötr", "notr", "中立", "中性",
    ),
    "sadness": (
        "sad", "sorrow", "trauer", "traurig", "traurigkeit", "smutek", "smutny", "tristezza", "triste", "tristesse",
        "tristeza", "üzgün", "uzgun", "üzüntü", "uzuntu", "dukkho", "伤心", "悲伤", "难过",
    ),
    "surprise": (
        "sur", "surprised", "surprise positive", "positive surprise", "pleasant surprise", "pleasantly surprised",
        "überraschung", "ueberraschung", "überrascht", "zaskoczenie", "sorpresa", "sorpreso", "şaşkın", "saskin",
        "şaşkınlık", "bismoy", "惊喜", "惊讶", "吃惊",
    ),
    "adoration": (),
    "amusement": ("amu", "amused"),
    "anxiety": ("anxious",),
    "awe": (),
    "boredom": ("bor", "bored", "langeweile", "gelangweilt", "nuda", "noia", "ennui", "aburrimiento", "无聊"),
    "calm": ("calmness", "ruhig", "spokój", "spokoj", "calma", "calme", "sakin", "平静"),
    "confusion": ("confused",),
    "contempt": ("con", "contemptuous", "scorn"),
    "contentment": ("content",),
    "desire": (),
    "disappointment": ("disappointed",),
    "distress": ("distressed",),
    "ecstasy": ("ecstatic",),
    "elation": ("elated",),
    "embarrassment": ("embarrassed",),
    "enthusiasm": ("enthusiastic",),
    "excitement": ("exc", "excited"),
    "frustration": ("fru", "frustrated"),
    "guilt": ("guilty",),
    "interest": ("interested",),
    "negative surprise": ("surprise negative", "unpleasant surprise"),
    "other": ("oth", "others"),
    "pain": (),
    "pride": ("proud",),
    "realization": ("realisation",),
    "relief": ("relieved",),
    "romantic love": ("love",),
    "sarcasm": ("sarcastic",),
    "serenity": ("serene",),
    "shame": ("ashamed",),
    "sleepiness": ("sleepy",),
    "sympathy": (),
    "triumph": (),
    "worry": ("worried",),
}  # fmt: skip
"""For every emotion the other words and codes that mean it in any corpus, in English, German, Polish, Italian, French,
Spanish, Turkish, Bengali (in Latin letters) and Chinese, some also without their accents. One-letter codes stand in :data:`CODES`."""

CODES: dict[str, dict[str, str]] = {
    "polish": {"a": "anger", "s": "fear", "n": "neutral"},
    "emodb": {
        "W": "anger", "L": "boredom", "E": "disgust", "A": "fear", "F": "happiness", "T": "sadness", "N": "neutral",
    },
    "ravdess": {
        "01": "neutral", "02": "calm", "03": "happiness", "04": "sadness",
        "05": "anger", "06": "fear", "07": "disgust", "08": "surprise",
    },
    "crema-d": {
        "ANG": "anger", "DIS": "disgust", "FEA": "fear", "HAP": "happiness", "NEU": "neutral", "SAD": "sadness",
    },
    "tess": {
        "angry": "anger", "disgust": "disgust", "fear": "fear", "happy": "happiness", "neutral": "neutral",
        "ps": "surprise", "sad": "sadness",
    },
    "savee": {
        "a": "anger", "d": "disgust", "f": "fear", "h": "happiness", "n": "neutral", "sa": "sadness", "su": "surprise",
    },
    "emovo": {
        "dis": "disgust", "gio": "happiness", "neu": "neutral", "pau": "fear", "rab": "anger", "sor": "surprise",
        "tri": "sadness",
    },
    "nemo": {
        "anger": "anger", "fear": "fear", "happiness": "happiness", "neutral": "neutral", "sadness": "sadness",
        "surprised": "surprise",
    },
    "subesco": {
        "ANGRY": "anger", "DISGUST": "disgust", "FEAR": "fear", "HAPPY": "happiness", "NEUTRAL": "neutral",
        "SAD": "sadness", "SURPRISE": "surprise",
    },
    "turev": {"kz": "anger", "sk": "calm", "mt": "happiness", "hl": "sadness"},
    "emogator": {
        "01": "adoration", "02": "amusement", "03": "anger", "04": "awe", "05": "confusion", "06": "contempt",
        "07": "contentment", "08": "desire", "09": "disappointment", "10": "disgust", "11": "distress",
        "12": "ecstasy", "13": "elation", "14": "embarrassment", "15": "fear", "16": "guilt", "17": "interest",
        "18": "neutral", "19": "pain", "20": "pride", "21": "realization", "22": "relief", "23": "romantic love",
        "24": "sadness", "25": "serenity", "26": "shame", "27": "negative surprise", "28": "surprise",
        "29": "sympathy", "30": "triumph",
    },
    "iemocap": {
        "ang": "anger", "hap": "happiness", "exc": "excitement", "sad": "sadness", "neu": "neutral",
        "fru": "frustration", "fea": "fear", "sur": "surprise", "dis": "disgust", "oth": "other",
    },
    "msp-podcast": {
        "A": "anger", "S": "sadness", "H": "happiness", "U": "surprise", "F": "fear", "D": "disgust",
        "C": "contempt", "N": "neutral", "O": "other",
    },
}  # fmt: skip
"""Codes whose meaning depends on the corpus: ``A`` is fear in EmoDB and anger in MSP-Podcast."""

AROUSAL: dict[str, float] = {
    "anger": 6.06, "disgust": 4.95, "fear": 5.79, "happiness": 6.28, "neutral": 3.45, "sadness": 3.15, "surprise": 6.26,
    "adoration": 4.36, "amusement": 4.54, "anxiety": 5.49, "awe": 3.83, "boredom": 3.12, "calm": 1.67, "confusion": 4.46,
    "contempt": 4.61, "contentment": 3.88, "desire": 6.2, "disappointment": 4.69, "distress": 5.14, "ecstasy": 6.53,
    "elation": 5.14, "embarrassment": 5.42, "enthusiasm": 5.04, "excitement": 6.32, "frustration": 5.67, "guilt": 4.57,
    "interest": 4.41, "pain": 6.27, "pride": 5.54, "realization": 3.67, "relief": 4.42, "romantic love": 5.36,
    "sarcasm": 5.24, "serenity": 3.81, "shame": 5.53, "sleepiness": 3.04, "sympathy": 3.19, "triumph": 5.32, "worry": 6.07,
}  # fmt: skip
"""How aroused readers felt at the English words for an emotion, from 1 (calm) to 9 (excited): the mean of the ratings
of its noun and its adjective ("fear", "fearful"; "love" for romantic love), or of the one that was rated. From Warriner,
Kuperman and Brysbaert 2013, Norms of valence, arousal, and dominance for 13,915 English lemmas, Behavior Research
Methods 45. These are ratings of words; how aroused a voice is differs between speakers and corpora."""

MIDDLE_AROUSAL = 5.0
"""The middle of the scale of :data:`AROUSAL`: above it an emotion counts as one of high arousal, below it of low."""

_EMOTION_OF = {alias: emotion for emotion, aliases in ALIASES.items() for alias in (emotion, *aliases)}


class UnknownEmotion(ValueError):
    """A word that means no known emotion; ``name`` is the word and ``nearest`` the closest known one, if any."""

    def __init__(self, name: str, message: str, nearest: str | None) -> None:
        self.name, self.nearest = name, nearest
        super().__init__(message)


def canonical(name: str, corpus: str | None = None) -> str:
    """Give the canonical name of an emotion.

    Args:
        name: a word or code in any case, with spaces, hyphens or underscores between its parts.
        corpus: id of a corpus in :data:`CODES`, whose codes are tried first (exact case).

    Raises:
        UnknownEmotion: the word means no known emotion; the message names the nearest one.

    Example:
        >>> canonical("Happy"), canonical("joy"), canonical("exc"), canonical("A", corpus="emodb")
        ('happiness', 'happiness', 'excitement', 'fear')
        >>> canonical("hapiness")
        Traceback (most recent call last):
        ...
        emoscope.emotions.UnknownEmotion: emotion 'hapiness' is not known: did you mean 'happiness'?
    """
    if corpus is not None and name.strip() in CODES.get(corpus, {}):
        return CODES[corpus][name.strip()]
    word = folded(name)
    if word in _EMOTION_OF:
        return _EMOTION_OF[word]
    if len(word) == 1 and corpus is None:
        message = f"emotion {name!r} is a code that differs between corpora: write the word, such as 'anger'"
        raise UnknownEmotion(name, message, None)
    # slips of the pen only: at 0.6, angewidert and laughter are near anger, and sachlich is near fröhlich
    near = difflib.get_close_matches(word, _EMOTION_OF, n=1, cutoff=0.75)
    remedy = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(in_order(ALIASES))}"
    raise UnknownEmotion(name, f"emotion {name!r} is not known: {remedy}", near[0] if near else None)


def arousal_of(emotion: str) -> str | None:
    """Whether an emotion is one of "high" or of "low" arousal, by :data:`AROUSAL`; ``None`` where that is not known.

    Example:
        >>> arousal_of("anger"), arousal_of("sadness"), arousal_of("other")
        ('high', 'low', None)
    """
    if emotion not in AROUSAL:
        return None
    return "high" if AROUSAL[emotion] > MIDDLE_AROUSAL else "low"


def folded(word: str) -> str:
    """A word as words are compared: in lower case, its parts separated by single spaces.

    Example:
        >>> folded(" Surprise_Positive")
        'surprise positive'
    """
    # names of folders made on a Mac hold their accents as separate characters
    composed = unicodedata.normalize("NFC", word)
    return " ".join(composed.lower().replace("_", " ").replace("-", " ").split())


def in_order(names: Iterable[str]) -> tuple[str, ...]:
    """Put labels into the order of tables and figures, each once: the seven of :data:`CANONICAL`, then alphabetically.

    Example:
        >>> in_order(["neutral", "calm", "anger", "neutral", "boredom"])
        ('anger', 'neutral', 'boredom', 'calm')
    """
    rank = {name: place for place, name in enumerate(CANONICAL)}
    return tuple(sorted(set(names), key=lambda name: (rank.get(name, len(rank)), name)))
