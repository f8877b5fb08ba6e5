"""One clip: which emotion a model hears in it, and what named neurons do meanwhile."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar, Union

import numpy as np

from emoscope.corpora.clip import as_label
from emoscope.emotions import folded
from emoscope.interventions.intervention import Intervention, told
from emoscope.interventions.kinds import whole_numbers
from emoscope.questions import Question
from emoscope.vocabulary import LEAST_LETTER_MASS

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch
    import xarray

    from emoscope.corpora.audio import Heard
    from emoscope.models.audio_lm import AudioLM
    from emoscope.models.values import ModelInfo
    from emoscope.neurons.sets import NeuronSet

T = TypeVar("T")

Clip = Union[str, Path, "tuple[npt.ArrayLike, int]", "Mapping[str, object]"]
"""A sound file, or samples with their rate, as :func:`~emoscope.corpora.table.keep_samples` takes them."""

Neurons = Union["NeuronSet", "npt.ArrayLike"]
"""A neuron set, flat numbers ``layer * width + index``, or rows of (layer, index)."""

BASIC = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The seven basic emotions: the options where none are given."""


@dataclass(frozen=True, eq=False)
class Answer(Mapping[str, float]):
    """How a model answers one question: option -> probability among the options, most probable first.

    Equal to a dictionary of the same probabilities; ``dict(answer)`` makes one.
    """

    shares: Mapping[str, float]
    logp: Mapping[str, float]  # option -> natural log of the probability of its letter over the whole vocabulary
    letter_mass: float  # total probability of the letters, from 0 to 1; where it is low, the shares say little
    question: str
    _write: Callable[[], str] = field(repr=False)
    told: tuple[str, ...] = ()  # how the clip is not heard as it is stored, a sentence each

    @cached_property
    def text(self) -> str:
        """What the model writes to the same question, greedily, at most 20 tokens; written when it is first looked at."""
        return self._write()

    def __getitem__(self, option: str) -> float:
        if option not in self.shares:
            raise KeyError(f"{option} was not an option: there are {', '.join(self.shares)}")
        return self.shares[option]

    def __iter__(self) -> Iterator[str]:
        return iter(self.shares)

    def __len__(self) -> int:
        return len(self.shares)

    def __repr__(self) -> str:
        shares = ", ".join(f"{name} {share:.3f}" for name, share in self.items())
        return f"Answer({'; '.join([shares, self.mass, *self.told])})"

    @property
    def unreliable(self) -> bool:
        """Whether so little probability is on the letters that the shares say little."""
        return self.letter_mass < LEAST_LETTER_MASS

    @property
    def mass(self) -> str:
        """The letter mass in words."""
        low = ": the model would rather write something else than a letter" if self.unreliable else ""
        return f"letter mass {self.letter_mass:.2f}{low}"

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><td>{escape(name)}</td><td>{share:.3f}</td><td>{self.logp[name]:.2f}</td></tr>"
            for name, share in self.items()
        )
        heads = "<tr><th>option</th><th>probability</th><th>log-probability of the letter</th></tr>"
        notes = "".join(f"<p>{escape(note)}</p>" for note in (self.mass, *self.told))
        return f"<p>{escape(self.question)}</p><table>{heads}{rows}</table>{notes}"


def ask(
    model: AudioLM,
    clip: Clip,
    *,
    options: Sequence[str] = (),
    under: Intervention | None = None,
    question: str = "",
    label: str = "emotion",
    wording: str = "lettered",
    loudness: str = "normalised",
) -> Answer:
    """Ask which emotion one sound file expresses, or another question about it.

    Args:
        clip: a sound file, or ``(samples, rate)`` with samples (time,), (time, channel) or (channel, time).
        options: labels to choose from, in the order of their letters; the seven basic emotions by default.
        under: an intervention, such as ``steer(sets["anger"], 1.0)``.
        question: any question in place of the label's; the lettered options and "Answer with the letter only." follow
            it. With ``{options}`` (or ``{options_by_line}``) in it, it is the whole prompt, and they stand there.
        wording: a key of ``questions.WORDINGS``.

    Returns:
        option -> probability among the options, most probable first; with the log-probabilities (``logp``), the
        ``letter_mass``, what the model writes (``text``), and what was done to the clip's sound beside mixing,
        resampling and one gain (``told``).

    Raises:
        TypeError: options that are one text, neurons in place of an intervention, swapped arguments.
        ValueError: two options that mean one emotion; another question than about emotion without options.

    Example:
        >>> import emoscope as es
        >>> from emoscope.corpora import polish_folder
        >>> model, clip = es.load_model("tiny"), polish_folder() / "m1.a_nie_3.flac"
        >>> answer = es.ask(model, clip, options=("anger", "fear", "neutral"))
        >>> abs(sum(answer.values()) - 1) < 1e-9, 0 < answer.letter_mass <= 1, len(answer.text) > 0
        (True, True, True)
        >>> es.ask(model, clip, question="Is the speaker angry?", options=["yes", "no"]).question
        'Is the speaker angry? (A) yes (B) no Answer with the letter only.'
    """
    from emoscope.models.audio_lm import Request

    refuse_other_than_model(model, "ask(model, clip)", clip)
    asked = _question(options, question, label, wording)
    change = checked_intervention(under)
    heard = _heard(clip, loudness)
    prepared = model.prepare([Request(heard.samples, asked.text, asked.letters)])

    def changed() -> contextlib.AbstractContextManager[object]:
        return model.under(change) if change is not None else contextlib.nullcontext()

    def write() -> str:
        with changed():
            return model.generate(prepared)[0]

    with changed():
        score = model.score(prepared)[0]
    logp = dict(zip(asked.options, map(float, score.logp), strict=True))
    share = np.exp(score.logp - np.logaddexp.reduce(score.logp))
    shares = sorted(zip(asked.options, map(float, share), strict=True), key=lambda pair: -pair[1])
    ordered = {name: logp[name] for name, _ in shares}
    return Answer(dict(shares), ordered, float(score.letter_mass), asked.text, write, heard.told)


def _question(options: Sequence[str], question: str, label: str, wording: str) -> Question:
    chosen = checked_options(options, label, question)
    if not chosen and (question or label != "emotion"):
        asked = f"question {question!r}" if question else f"label {label!r}"
        raise ValueError(f'{asked}: give what can be answered, such as options=["yes", "no"]')
    return Question(label, chosen or BASIC, wording, question)


def _heard(clip: Clip, loudness: str) -> Heard:
    """A clip as a model hears it; samples go through a file, so that every check is the same."""
    from emoscope.corpora.audio import AudioError, hear
    from emoscope.corpora.table import keep_samples

    if isinstance(clip, str | Path):
        return hear(clip, loudness)
    with tempfile.TemporaryDirectory() as folder:
        file = keep_samples(clip, Path(folder))
        try:
            return hear(file, loudness)
        except AudioError as error:
            raise AudioError("samples", error.reason) from None


class _Watched:
    """An observer that keeps the named neurons of one row at its audio positions."""

    def __init__(self, neurons: Sequence[int], width: int) -> None:
        layers = {n // width for n in neurons}
        self.places = {layer: [n % width for n in neurons if n // width == layer] for layer in layers}
        self.width, self.kept = width, dict[int, np.ndarray]()

    def observe(self, layer: int, activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor) -> None:
        from emoscope.models.values import AUDIO

        if layer not in self.places or not bool((scopes == AUDIO).any()):
            return
        values = activation[0][scopes[0] == AUDIO][:, self.places[layer]].float().cpu().numpy()
        for place, column in zip(self.places[layer], values.T, strict=True):
            self.kept[layer * self.width + place] = column


def _numbers(neurons: Neurons, info: ModelInfo) -> np.ndarray:
    """Flat neuron numbers of a set, a row of numbers, or (layer, index) pairs; all must be of this model."""
    if isinstance(neurons, Mapping):
        raise TypeError(
            f'the sets of {", ".join(neurons)} are given: say which emotion, as in activations(model, clip, sets["anger"])'
        )
    if not hasattr(neurons, "__len__"):
        raise TypeError(f"neurons {told(neurons)}: give a neuron set or a row of numbers, such as [3, 515]")
    size = getattr(neurons, "layers", info.layers), getattr(neurons, "width", info.width)
    if size != (info.layers, info.width):
        raise ValueError(
            f"the set was found in a model of {size[0]} layers x {size[1]} neurons, and {info.id} has {info.layers} x "
            f"{info.width}: take a set that was found in this model"
        )
    numbers = np.asarray(getattr(neurons, "neurons", neurons))
    if numbers.ndim != 2 or numbers.shape[1] != 2 or not np.issubdtype(numbers.dtype, np.integer):
        return whole_numbers(numbers)
    for layer, index in numbers.tolist():
        if not (0 <= layer < info.layers and 0 <= index < info.width):
            raise ValueError(
                f"neuron ({layer}, {index}): {info.id} has layers 0 to {info.layers - 1} with neurons 0 to {info.width - 1}"
            )
    return numbers[:, 0] * info.width + numbers[:, 1]


def activations(
    model: AudioLM,
    clip: Clip,
    neurons: Neurons,
    *,
    options: Sequence[str] = (),
    label: str = "emotion",
    wording: str = "lettered",
    loudness: str = "normalised",
) -> xarray.DataArray:
    """Show what named neurons do while a clip is heard.

    Args:
        clip: a sound file, or ``(samples, rate)`` with samples (time,), (time, channel) or (channel, time).
        neurons: a neuron set, or flat neuron numbers ``layer * width + index``.

    Returns:
        activations (neuron, time) at the audio positions, with coordinates layer and index of the neurons and
        time in seconds (the middle of each position).

    Raises:
        ValueError: no neurons, or a number that the model does not have.

    Example:
        >>> import emoscope as es
        >>> from emoscope.corpora import polish_folder
        >>> found = es.activations(es.load_model("tiny"), polish_folder() / "m1.a_nie_3.flac", [3, 600])
        >>> found.dims, found.layer.values.tolist(), found.index.values.tolist()
        (('neuron', 'time'), [0, 1], [3, 88])
    """
    import xarray

    from emoscope.corpora.audio import RATE
    from emoscope.models.audio_lm import Request

    refuse_other_than_model(model, "activations(model, clip, neurons)", clip)
    numbers, width = np.unique(_numbers(neurons, model.info)), model.info.width
    total = model.info.layers * width
    if not len(numbers) or numbers[0] < 0 or numbers[-1] >= total:
        raise ValueError(f"neurons {numbers.tolist()[:3]} ...: give some of 0 to {total - 1}")
    wave = _heard(clip, loudness).samples
    question = _question(options, "", label, wording)
    watched = _Watched(numbers.tolist(), width)
    model.score(model.prepare([Request(wave, question.text, question.letters)]), observe=watched)
    values = np.stack([watched.kept[int(number)] for number in numbers])
    seconds = (np.arange(values.shape[1]) + 0.5) * len(wave) / RATE / values.shape[1]
    places = {"neuron": numbers, "layer": ("neuron", numbers // width), "index": ("neuron", numbers % width)}
    return xarray.DataArray(
        values,
        dims=("neuron", "time"),
        coords={**places, "time": ("time", seconds, {"units": "s"})},
        name="activation",
        attrs={"clip": str(clip) if isinstance(clip, str | Path) else "samples", "site": model.info.site},
    )


def refuse_other_than_model(model: object, example: str, following: object = None) -> None:
    """Refuse what is no model, as in the call that ``example`` shows; the argument after it tells swapped ones."""
    from emoscope.models.audio_lm import AudioLM

    if isinstance(model, AudioLM):
        return
    if isinstance(following, AudioLM):
        raise TypeError(f"the arguments are in another order: write {example}")
    remedy = f'load_model("{model}")' if isinstance(model, str) else "a model from load_model or wrap"
    raise TypeError(f"{told(model)} stands where the model is expected: give {remedy}, as in {example}")


def several(name: str, given: Iterable[T], example: str) -> tuple[T, ...]:
    """Several values as a tuple; one text is not taken for its letters, nor a number or a mapping for a list.

    Example:
        >>> several("alphas", [0.5, 1.0], "alphas=[0.5]")
        (0.5, 1.0)
    """
    if isinstance(given, str | bytes | Mapping) or not isinstance(given, Iterable):
        raise TypeError(f"{name} {told(given)} is not a list: write for example {example}")
    return tuple(given)


def checked_options(options: Iterable[str], label: str, question: str = "") -> tuple[str, ...]:
    """Options as a tuple of different words.

    Args:
        question: a question of the caller's own, in whose words nothing is looked up.

    Example:
        >>> checked_options(["angry", "afraid"], "emotion")
        ('angry', 'afraid')
    """
    if isinstance(options, set | frozenset):
        raise TypeError(f"options {told(options)} is a set, which has no order: give a list")
    names = several("options", options, 'options=["anger", "fear"]')
    seen: dict[str, str] = {}
    for name in names:
        if not isinstance(name, str):
            raise TypeError(f'options {list(names)}: {name!r} is not a word: give texts, such as "anger"')
        if not name.strip():
            raise ValueError(f"options {list(names)}: one is empty")
        meant = folded(name if question else as_label(label, name))
        if meant in seen:
            raise ValueError(f"options {seen[meant]!r} and {name!r} are one {label}: give one of them")
        seen[meant] = name
    return names


def checked_intervention(under: object) -> Intervention | None:
    """An intervention, or nothing; neurons alone do not say what is done to them."""
    if under is None or isinstance(under, Intervention):
        return under
    if isinstance(under, Mapping):
        raise TypeError('under: these are sets of several emotions: write under=deactivate(sets["anger"])')
    raise TypeError(
        f'under {told(under)} is no intervention: say what is done to the neurons, as in under=deactivate(sets["anger"]) '
        'or under=steer(sets["anger"], 0.5)'
    )
