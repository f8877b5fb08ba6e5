"""One clip: which emotion a model hears in it, and what named neurons do meanwhile."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    import xarray

    from emoscope.interventions.intervention import Intervention
    from emoscope.models.audio_lm import AudioLM

BASIC = ("anger", "disgust", "fear", "happiness", "neutral", "sadness", "surprise")
"""The seven basic emotions: the options where none are given."""


def ask(
    model: AudioLM,
    clip: str | Path,
    *,
    options: Sequence[str] = (),
    under: Intervention | None = None,
    label: str = "emotion",
    wording: str = "lettered",
    loudness: str = "normalised",
) -> dict[str, float]:
    """Ask which emotion one sound file expresses.

    Args:
        model: from ``load_model`` or ``wrap``.
        clip: a sound file.
        options: labels to choose from; the seven basic emotions by default.
        under: an intervention, such as ``steer(sets["anger"], 1.0)``.
        label: the label column that is asked.
        wording: a key of ``questions.WORDINGS``.
        loudness: ``"normalised"`` or ``"as recorded"``.

    Returns:
        option -> probability among the options, most probable first.

    Example:
        >>> import emoscope as es
        >>> from emoscope.corpora import polish_folder
        >>> answer = es.ask(es.load_model("tiny"), polish_folder() / "m1.a_nie_3.flac", options=("anger", "fear", "neutral"))
        >>> abs(sum(answer.values()) - 1) < 1e-9
        True
    """
    import contextlib

    import numpy as np

    from emoscope.corpora.audio import load_audio
    from emoscope.models.audio_lm import Request
    from emoscope.questions import Question

    options = tuple(options) or BASIC
    question = Question(label, options, wording)
    prepared = model.prepare([Request(load_audio(clip, loudness), question.text, question.letters)])
    with model.under(under) if under is not None else contextlib.nullcontext():
        score = model.score(prepared)[0]
    share = np.exp(score.logp - np.logaddexp.reduce(score.logp))
    return dict(sorted(zip(options, map(float, share), strict=True), key=lambda pair: -pair[1]))


class _Watched:
    """An observer that keeps the named neurons of one row at its audio positions."""

    def __init__(self, neurons: Sequence[int], width: int) -> None:
        self.places = {
            layer: [n % width for n in neurons if n // width == layer] for layer in {n // width for n in neurons}
        }
        self.width = width
        self.kept: dict[int, Any] = {}

    def observe(self, layer: int, activation: torch.Tensor, product: torch.Tensor, scopes: torch.Tensor) -> None:
        from emoscope.models.values import AUDIO

        if layer not in self.places or not bool((scopes == AUDIO).any()):
            return
        values = activation[0][scopes[0] == AUDIO][:, self.places[layer]].float().cpu().numpy()
        for place, column in zip(self.places[layer], values.T, strict=True):
            self.kept[layer * self.width + place] = column


def activations(
    model: AudioLM,
    clip: str | Path,
    neurons: Any,
    *,
    options: Sequence[str] = (),
    label: str = "emotion",
    wording: str = "lettered",
    loudness: str = "normalised",
) -> xarray.DataArray:
    """Show what named neurons do while a clip is heard.

    Args:
        model: from ``load_model`` or ``wrap``.
        clip: a sound file.
        neurons: a neuron set, or flat neuron numbers ``layer * width + index``.
        options: labels to choose from; the seven basic emotions by default.
        label: the label column that is asked.
        wording: a key of ``questions.WORDINGS``.
        loudness: ``"normalised"`` or ``"as recorded"``.

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
    import numpy as np
    import xarray

    from emoscope.corpora.audio import RATE, load_audio
    from emoscope.models.audio_lm import Request
    from emoscope.questions import Question

    numbers = np.unique(np.asarray(getattr(neurons, "neurons", neurons), dtype=np.int64))
    total = model.info.layers * model.info.width
    if not len(numbers) or numbers[0] < 0 or numbers[-1] >= total:
        raise ValueError(f"neurons {numbers.tolist()[:3]} ...: give some of 0 to {total - 1}")
    wave = load_audio(clip, loudness)
    question = Question(label, tuple(options) or BASIC, wording)
    watched = _Watched(numbers.tolist(), model.info.width)
    model.score(model.prepare([Request(wave, question.text, question.letters)]), observe=watched)
    values = np.stack([watched.kept[int(number)] for number in numbers])
    seconds = (np.arange(values.shape[1]) + 0.5) * len(wave) / RATE / values.shape[1]
    return xarray.DataArray(
        values,
        dims=("neuron", "time"),
        coords={
            "neuron": numbers,
            "layer": ("neuron", numbers // model.info.width),
            "index": ("neuron", numbers % model.info.width),
            "time": ("time", seconds, {"units": "s"}),
        },
        name="activation",
        attrs={"clip": str(clip), "site": model.info.site},
    )
