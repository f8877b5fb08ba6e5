"""How far a model's numbers move by rounding alone, measured on the model itself: what tolerances of tests stand on.

Rounding depends on the processor, on the number of threads and on how rows share a batch, and it grows with the numbers
themselves, so no fixed tolerance is right everywhere. Two ways of computing the same are alike where they differ by less
than :data:`MANY` times the noise; on processors with and without AVX2 and AVX-512 they differ by 0 to 4 times.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

import numpy as np
import torch

from emoscope.models.audio_lm import AudioLM, Request

MANY = 32
"""So many times the noise still count as rounding; what a test is there to find must lie far beyond."""


def nudged(request: Request, seed: int) -> Request:
    """The request with every sample of its sound moved to the next number up or down, drawn by lot."""
    if request.audio is None:
        return request
    up = np.random.default_rng(seed).random(request.audio.shape) < 0.5
    return replace(request, audio=np.nextafter(request.audio, np.where(up, np.inf, -np.inf).astype(np.float32)))


def noise(compute: Callable[[list[Request]], Iterable[torch.Tensor]], requests: Sequence[Request]) -> float:
    """The largest difference that the last bit of the sound or another order of the rows makes, or one rounding.

    Args:
        compute: requests to what is looked at, a tensor each.
        requests: some requests.
    """
    requests = list(requests)
    plain = list(compute(requests))
    ways = [list(compute([nudged(request, seed) for request in requests])) for seed in (0, 1)]
    ways.append([*compute(requests[::-1])][::-1])
    rounding = max(float(one.abs().max()) for one in plain) * torch.finfo(torch.float32).eps
    return max(rounding, *(float((a - b).abs().max()) for way in ways for a, b in zip(plain, way, strict=True)))


def close_logits(model: AudioLM, requests: Sequence[Request]) -> float:
    """The largest difference of the logits of these requests that counts as rounding."""
    return MANY * noise(lambda some: model.next_logits(model.prepare(some)), requests)


def close_sound(model: AudioLM, requests: Sequence[Request]) -> float:
    """The same of what the decoder is given for them."""
    return MANY * noise(lambda some: [row.embeddings.float() for row in model.prepare(some)], requests)
