"""The model's own words: option labels, question sentences, a small byte-level tokenizer and the processor."""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import AudioFlamingo3Processor, PreTrainedTokenizerFast

from emoscope.questions import WORDINGS, Question, sentence

from .encoder import feature_extractor

EMOTIONS = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
POLISH_EMOTIONS = ("anger", "fear", "neutral")
WORDS = ("nie", "oddaj", "podaj", "stop", "tak", "trzymaj")

ADJECTIVES = {
    "anger": "angry",
    "disgust": "disgusted",
    "fear": "afraid",
    "happiness": "happy",
    "neutral": "neutral",
    "sadness": "sad",
    "surprise": "surprised",
}
"""Other names for the same emotions: some questions offer these as options."""

_FURTHER = (
    "adoration alarm amusement awe boredom calm confusion contempt contentment desire disappointment distress elation "
    "embarrassment guilt interest pain pride relief serenity shame sympathy triumph"
)
FURTHER = tuple(_FURTHER.split())
"""Option labels that occur only where a label stands in text, never with sound: they make the letters harder to learn
by heart."""

LABELS = tuple(sorted({*EMOTIONS, *ADJECTIVES.values(), *WORDS, *FURTHER}))
LETTERS = "ABCDEFGHIJ"

PARAPHRASES = {
    "emotion": ("What emotion do you hear?", "How does the speaker feel?", "What is the emotion of this voice?"),
    "word": ("What word do you hear?", "What does the speaker say?", "What is the word in this recording?"),
}
ONE_WORD = "Answer with one word."

END, START, PAD, SOUND = "<|im_end|>", "<|im_start|>", "<|endoftext|>", "<sound>"

GENERAL_TEXT = (
    "You are a helpful assistant. Listen to the audio and choose the option that describes it best. "
    "Please describe the emotion of this speaker in a few words. Is the speaker happy, angry, sad, afraid, surprised "
    "or disgusted? Yes No yes no true false. What is the gender of the speaker? female male woman man voice speech "
    "sound loud quiet high low. Who is speaking? Which sentence does the speaker say? Kids are talking by the door. "
    "Dogs are sitting by the door. Transcribe the input speech. The correct answer is option letter:"
)
"""A little general English, so that other prompts come out as words rather than as single bytes."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}{% else %}"
    "{% for part in message['content'] if part['type'] == 'audio' %}<sound>{% endfor %}"
    "{% for part in message['content'] if part['type'] == 'text' %}{{ part['text'] }}{% endfor %}"
    "{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def one_word_text(column: str) -> str:
    """The question that is answered with the label itself."""
    return f"{sentence(column)} {ONE_WORD}"


def build_processor() -> AudioFlamingo3Processor:
    """Train the tokenizer (always the same) and join it with the mel features and the chat template."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            # a lettered option mark such as " (B)" stays whole; words keep the space before them
            pre_tokenizers.Split(Regex(r" ?\([A-Z]\)| ?\p{L}+| ?\p{N}| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=1000,  # an upper bound: the text below runs out of pairs at about 650
        min_frequency=2,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=[PAD, START, END, SOUND],
        show_progress=False,
    )
    tokenizer.train_from_iterator(_tokenizer_text(), trainer)
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token=END,
        pad_token=PAD,
        additional_special_tokens=[START, SOUND],
        padding_side="left",
    )
    check_tokens(fast)
    return AudioFlamingo3Processor(feature_extractor(), fast, chat_template=CHAT_TEMPLATE)


def _tokenizer_text() -> Iterator[str]:
    marks = [f"{before}({letter}){after}" for letter in LETTERS for before in ("", " ") for after in ("", " ")]
    for _ in range(200):
        yield from LETTERS
        yield from (f" {letter}" for letter in LETTERS)
        yield from marks
        yield from LABELS
        yield from (f" {label}" for label in LABELS)
        yield from ("\n", "user\n", "assistant\n", "system\n")
    for wording in WORDINGS:
        for column, options in (("emotion", EMOTIONS), ("word", WORDS)):
            yield from [Question(column, options, wording).text] * 200
    for column, sentences in PARAPHRASES.items():
        yield from [*sentences, one_word_text(column)] * 200
    yield from [GENERAL_TEXT] * 50


def check_tokens(tokenizer: PreTrainedTokenizerFast) -> None:
    """Make sure that letters, option marks and option labels are one token each, wherever they stand.

    Raises:
        ValueError: one of them is split; the message says which.
    """
    pieces = [
        *LETTERS,
        *(f" {letter}" for letter in LETTERS),
        *(f"({letter})" for letter in LETTERS),
        *(f" ({letter})" for letter in LETTERS),
        *LABELS,
        *(f" {label}" for label in LABELS),
    ]
    split = [piece for piece in pieces if len(tokenizer(piece)["input_ids"]) != 1]
    if split:
        raise ValueError(f"these are not single tokens: {split}")


class Prompts:
    """Token ids of whole prompts, the same as the chat template and the processor give."""

    def __init__(self, processor: AudioFlamingo3Processor) -> None:
        self.processor = processor
        self.tokenizer = processor.tokenizer
        self.sound = processor.audio_token_id
        self.pad, self.end = self.tokenizer.pad_token_id, self.tokenizer.eos_token_id
        self.before, self.after = self._ids(f"{START}user\n"), self._ids(f"{END}\n{START}assistant\n")
        self.letter = {letter: self._one(letter) for letter in LETTERS}
        self.label = {label: self._one(label) for label in LABELS}
        self.spoken = {label: self._one(f" {label}") for label in LABELS}
        self.no = self._ids(" No")[0]
        self._marks = {self._one(mark + f"({letter})") for letter in LETTERS for mark in ("", " ")}
        self._known: dict[str, list[int]] = {}

    def _ids(self, text: str) -> list[int]:
        return list(self.tokenizer(text)["input_ids"])

    def _one(self, text: str) -> int:
        (token,) = self._ids(text)
        return token

    def audio(self, text: str, tokens: int) -> list[int]:
        """The prompt for a clip of so many audio tokens."""
        return self._whole(text, [self.sound] * tokens)

    def hint(self, text: str, label: str, times: int) -> list[int]:
        """The prompt with a label itself, some times over, in the place of the audio."""
        return self._whole(text, [self.spoken[label]] * times)

    def _whole(self, text: str, heard: Sequence[int]) -> list[int]:
        return [*self.before, *heard, *self._ids(text), *self.after]

    def option_positions(self, prompt: Sequence[int]) -> list[int]:
        """Where the options' labels stand: each right after its mark."""
        return [place + 1 for place, token in enumerate(prompt) if token in self._marks]


def shuffled(options: Sequence[str], rng: random.Random) -> tuple[str, ...]:
    """The options in a new order."""
    return tuple(rng.sample(list(options), len(options)))
