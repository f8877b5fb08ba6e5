"""What is asked about a clip, with its sound or with something in its place, and how answers become rows of the table."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypedDict

import numpy as np

from emoscope.corpora.audio import RATE, AudioError, Waveform
from emoscope.corpora.audio import Heard as Sound
from emoscope.corpora.audio import hear as hear_sound
from emoscope.emotions import in_order
from emoscope.questions import Question, read_answer
from emoscope.schemas import schema
from emoscope.vocabulary import GROUNDING as GROUNDING_ROLE
from emoscope.vocabulary import PRESENTED, SIDE_EFFECT

if TYPE_CHECKING:
    import polars as pl

    from emoscope.corpora import Clip
    from emoscope.experiments.schema import Row, Study
    from emoscope.models.audio_lm import AudioLM, Request, Score

WRITE_DOWN = "What does the speaker say? Answer with what is said."
"""The request of ``transcription``; its answer is read by :mod:`emoscope.chapters.side_effects`."""

SAID = "The speaker says: {transcript}"
"""What stands in the place of the sound in ``transcript``, apart from the question by a line break."""


def writes(study: Study) -> bool:
    """Whether the answer is a text of the model's own rather than one of several letters."""
    return PRESENTATIONS[study.question.presentation].writes


def asked_wordings(study: Study) -> tuple[str, ...]:
    """The wordings in which each clip is asked; a transcription and a question about no clip have one of their own."""
    how = PRESENTATIONS[study.question.presentation]
    return ("lettered",) if how.writes or not how.of_clips else study.question.wordings


def spoken(clip: Clip) -> str | None:
    """What is said in a clip: its transcript, or its label in the column ``statement`` or ``word``.

    Example:
        >>> from emoscope.corpora import open_corpus
        >>> spoken(open_corpus("polish").clips[0])
        'nie'
    """
    return clip.transcript or clip.labels.get("statement") or clip.labels.get("word")


def noise_like(wave: Waveform) -> Waveform:
    """White Gaussian noise as long and as loud (root mean square) as a clip, seeded by the clip's samples.

    White, and not with the clip's own spectrum, since a spectrum tells a tense voice from a calm one. What is left of
    the clip is its length and, under ``loudness = "as recorded"``, its level.

    Example:
        >>> noise = noise_like(np.full(16_000, 0.05, dtype=np.float32))
        >>> len(noise), round(float((noise**2).mean() ** 0.5), 3)
        (16000, 0.05)
    """
    seed = int.from_bytes(hashlib.sha256(np.ascontiguousarray(wave).tobytes()).digest()[:8], "big")
    noise = np.random.default_rng(seed).standard_normal(len(wave), dtype=np.float32)
    level = np.sqrt(np.mean(np.square(wave, dtype=np.float64)) / np.mean(np.square(noise, dtype=np.float64)))
    return np.clip(noise * np.float32(level), -1.0, 1.0)


@dataclass(frozen=True)
class Presentation:
    """What a question is asked about; its role and its words stand in :data:`emoscope.vocabulary.PRESENTED`."""

    sound: Callable[[Waveform], Waveform] | None = None  # what the model hears of a clip's samples; ``None``: nothing
    needs_words: bool = False  # asked of clips whose words are known
    writes: bool = False  # the answer is a text of the model's own; :mod:`emoscope.chapters.side_effects` reads it
    # there is a clip, which is decoded also where nothing is heard: one without usable sound is left out there, too, so
    # that all presentations are asked on the same clips
    of_clips: bool = True


def _itself(wave: Waveform) -> Waveform:
    return wave


PRESENTATIONS: Mapping[str, Presentation] = {
    "audio": Presentation(_itself),
    "noise": Presentation(noise_like),
    "transcript": Presentation(needs_words=True),
    "transcription": Presentation(_itself, needs_words=True, writes=True),
    "text": Presentation(of_clips=False),
}
"""What is done for each presentation, in the order in which a study names them."""

GROUNDING, SIDE_EFFECTS = (
    tuple(name for name in PRESENTATIONS if PRESENTED[name].role == role) for role in (GROUNDING_ROLE, SIDE_EFFECT)
)
"""What takes the place of the voice; and tasks that are no multiple choice about the clip."""


def asked_text(item: Row, presentation: str = "audio", audio_first: bool = True) -> tuple[str, tuple[str, ...]]:
    r"""The user's turn, without any sound, and the letters of its options: none where the answer is written.

    Args:
        audio_first: whether the model's sound stands before the question; so does the text in its place.

    Example:
        >>> item = {"label": "emotion", "options": ["anger", "fear"], "wording": "lettered", "transcript": "Stop it."}
        >>> asked_text(item, "transcript")[0]
        'The speaker says: Stop it.\nWhich emotion does the speaker express? (A) anger (B) fear Answer with the letter only.'
    """
    if presentation == "transcription":
        return WRITE_DOWN, ()
    options = tuple(item["options"])
    if presentation == "text":  # its sentence and the words of its options stand in the item's columns
        asked = Question(item["label"], options, ask=item["question"], shown=tuple(item[option] for option in options))
    else:
        asked = Question(item["label"], options, item["wording"])
    turn = [asked.text]
    if presentation == "transcript":
        turn.insert(0 if audio_first else 1, SAID.format(transcript=item["transcript"]))
    return "\n".join(turn), asked.letters


class Notes(TypedDict):
    """What a unit's card keeps of its items, by their numbers: why one is quarantined, seconds, what is told of its sound."""

    quarantined: dict[str, str]
    duration_s: dict[str, float | None]
    told: dict[str, list[str]]


def requests(
    study: Study, block: Sequence[Row], sounds: Mapping[str, Decoded], model: AudioLM
) -> tuple[list[Row], list[Request], Notes]:
    """What a model is asked for a block of items.

    Args:
        sounds: clip -> how it is heard, or why it cannot be; empty where nothing is heard.

    Returns:
        the items that can be asked, their requests, and notes.
    """
    from emoscope.models.audio_lm import Request

    notes: Notes = {"quarantined": {}, "duration_s": {}, "told": {}}
    usable, asked = [], []
    presentation, longest = study.question.presentation, model.longest_s
    how = PRESENTATIONS[presentation]
    for item in block:
        number, sound = str(item["item"]), sounds.get(item["clip"])
        if isinstance(sound, AudioError):
            notes["quarantined"][number] = sound.reason
            continue
        length = None if sound is None else len(sound.samples) / RATE
        if length is not None and longest is not None and length > longest:
            notes["quarantined"][number] = f"longer than the {longest:g} s that the model takes"
            continue
        notes["duration_s"][number] = None if length is None else round(length, 4)
        if sound is not None and sound.told:
            notes["told"][number] = list(sound.told)
        usable.append(item)
        heard = how.sound(sound.samples) if how.sound and sound is not None else None
        asked.append(Request(heard, *asked_text(item, presentation, model.info.audio_first)))
    return usable, asked, notes


def answer_table(scoring: str, items: Sequence[Row], condition: str, answers: Sequence[Score | str]) -> pl.DataFrame:
    """Rows of the answers table: a score or a text for each item, read by its scoring.

    ``likelihood``: the option whose letter is most probable; ``logp`` is in canonical order of the options.
    ``generation``: what the text says; refusals and unreadable texts keep their form. ``transcription``: a text that
    chooses no option and is neither right nor wrong.
    """
    import polars as pl

    read = READERS[scoring]
    given = zip(items, answers, strict=True)
    rows = [(item["item"], condition, scoring, *read(item, answer)) for item, answer in given]
    return pl.DataFrame(rows, schema=schema("answers", stored=True), orient="row")


def _scored(item: Row, score: Score) -> tuple[object, ...]:
    shown = list(item["options"])
    # as the item's letters stand
    logp = {option: float(value) for option, value in zip(shown, score.logp, strict=True)}
    answer = max(shown, key=logp.__getitem__)
    ordered = [logp[option] for option in in_order(shown)]
    return answer, "letter", None, answer == item["truth"], ordered, float(score.letter_mass)


def _written(item: Row, text: str) -> tuple[object, ...]:
    answer, form = read_answer(text, item["options"])
    return answer, form, text, answer == item["truth"], None, None


def _transcribed(item: Row, text: str) -> tuple[object, ...]:
    return None, "transcription", text, None, None, None


READERS: Mapping[str, Callable[..., tuple[object, ...]]] = {
    "likelihood": _scored,
    "generation": _written,
    "transcription": _transcribed,
}
"""Answer, form, text, whether it is right, log-probabilities and letter mass of an item, by scoring."""


def option_shares(answers: Sequence[pl.DataFrame], items: pl.DataFrame) -> dict[int, dict[str, float]]:
    """Probabilities of the options of every item, adding up to 1: item -> option -> probability."""
    options = dict(items.select("item", "options").iter_rows())
    shares = {}
    for table in answers:
        for item, logp in table.filter(table["scoring"] == "likelihood").select("item", "logp").iter_rows():
            weights = [math.exp(value - max(logp)) for value in logp]
            total = sum(weights)
            shares[item] = {name: w / total for name, w in zip(in_order(options[item]), weights, strict=True)}
    return shares


Decoded = Sound | AudioError
"""A clip as it is heard, or why it cannot be."""

THREADS = 2
"""Clips decoded at a time; decoding runs outside Python's lock."""

AHEAD_BYTES = 256 << 20
"""Sound that may wait for its turn (70 minutes of it); beyond that a clip is decoded when it is asked for."""


class DecodeAhead:
    """Decodes clips in the background, block by block; what it hands out is what
    :func:`~emoscope.corpora.audio.hear` gives.

    Example:
        >>> from emoscope.corpora import polish_folder
        >>> block = [{"clip": "a", "path": polish_folder() / "m1.a_nie_3.flac"}]
        >>> with DecodeAhead("normalised") as ahead:
        ...     ahead.start(block)
        ...     sounds = ahead.take(block)
        >>> sounds["a"].samples.dtype, sounds["a"].told
        (dtype('float32'), ())
    """

    def __init__(self, loudness: str, most_bytes: int = AHEAD_BYTES) -> None:
        self._loudness, self._most = loudness, most_bytes
        self._waiting: dict[str, Future[Decoded | None]] = {}
        self._pool = ThreadPoolExecutor(THREADS, thread_name_prefix="decode")

    def __enter__(self) -> DecodeAhead:
        return self

    def __exit__(self, *error: object) -> None:
        # whoever stops a run waits for the clips that are being decoded, not for those in the queue
        self._pool.shutdown(wait=True, cancel_futures=True)
        self._waiting.clear()

    def start(self, block: Sequence[Row]) -> None:
        """Begin to decode the clips of a block (items with ``clip`` and ``path``); returns at once."""
        for item in block:
            if item["clip"] not in self._waiting:
                self._waiting[item["clip"]] = self._pool.submit(self._decode_if_room, item["path"])

    def take(self, block: Sequence[Row]) -> dict[str, Decoded]:
        """Clip -> its sound, or the reason why it has none; waits for what is not decoded yet."""
        sounds: dict[str, Decoded] = {}
        # a block that turned out to be done already is never taken
        for stale in self._waiting.keys() - {item["clip"] for item in block}:
            self._release(stale)
        self.start(block)
        for item in block:
            if item["clip"] not in sounds:
                found = self._release(item["clip"])
                sounds[item["clip"]] = decode(item["path"], self._loudness) if found is None else found
        return sounds

    def _release(self, clip: str) -> Decoded | None:
        waiting = self._waiting.pop(clip)
        return None if waiting.cancel() else waiting.result()

    def _decode_if_room(self, path: str) -> Decoded | None:
        done = [decoded for decoded in list(self._waiting.values()) if decoded.done() and not decoded.cancelled()]
        # a fault in the code is raised where that clip's sound is taken
        sounds = [decoded.result() for decoded in done if decoded.exception() is None]
        full = sum(sound.samples.nbytes for sound in sounds if isinstance(sound, Sound)) > self._most
        return None if full else decode(path, self._loudness)


def decode(path: str, loudness: str) -> Decoded:
    """A clip as it is heard, or why it cannot be."""
    try:
        return hear_sound(path, loudness)
    except AudioError as error:
        return error
