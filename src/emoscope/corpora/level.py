"""How loud a clip is: what counts as its sound, when it is silent, and how its level is made even."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Waveform = npt.NDArray[np.float32]

RATE = 16_000
"""Sampling rate of every loaded clip, in Hz (all supported model families take 16 kHz)."""

TARGET_RMS = 0.05
"""Root mean square of a clip under ``loudness="normalised"`` (full scale is 1)."""

SHORTEST_S = 0.1
"""A clip shorter than this, in seconds, gives fewer than two audio tokens and is quarantined."""

SILENT_PEAK = 1e-4
"""A clip whose largest sample stays below this (-80 dB of full scale) is quarantined as silent."""

STEP = 1 << 20
"""Samples over which a clip is checked and measured at once (65 s), which bounds the scratch memory."""

LOWEST_HZ, DRIFT_HZ = 20.0, 5.0
"""What lies below the first is no sound; below the second it is an offset or drift."""

MOST_RUMBLE, MOST_DRIFT = 0.5, 0.1
"""Shares of a clip's power that may lie below these; where there is more, all below 20 Hz is taken out.

A tenth is 0.46 dB of level. Puffs of breath, which are part of many a recording, are rarely half of its power."""

TOLERANCE = 10 ** (-0.5 / 20)
"""By how much (0.5 dB) clipping at full scale may lower the level."""

WINDOW, WINDOWS = 400, 4
"""Samples (25 ms) whose mean keeps at least 0.4 of the power below 20 Hz; four such means do so below 5 Hz."""

KEPT = 0.4

BEGIN = 160
"""Samples (10 ms) whose means show where an offset or rumble begins."""

BEFORE = 8_000
"""Samples (0.5 s) over which the filter settles before a clip begins."""

SCALES = (2.0**15, 2.0**23, 2.0**31)
"""Full scale of integers, which some programs write as floating-point numbers as they are."""

BEYOND = 4.0
"""Floating-point samples above this are on a scale of integers (overshoot of a loud recording stays below)."""

RUMBLE = "much of its power is an offset, drift or rumble below 20 Hz, which is taken out"
CLICKS = "its level is that of single clicks, which are clipped so that the rest has the usual level"
INTEGERS = "its samples are on a scale of integers, which is divided by full scale"
"""What is told of clips that are not heard as they are stored."""


class Unhearable(ValueError):
    """Sound that cannot be used; the message is a short reason."""


def settle(mono: Waveform, loudness: str) -> list[str]:
    """Check a clip's samples (time,) and bring them to the wanted loudness, in place.

    The level is that of what a model hears: of the mixed, resampled clip. Where more than a tenth of its power is offset
    or drift below 5 Hz, or more than half lies below 20 Hz, all below 20 Hz is taken out first. Peaks are clipped at full scale; where that would cost more than 0.5 dB, as single
    clicks in a quiet clip do, the gain is raised until the clipped clip has the level. So every clip that is
    accepted has an RMS of 0.05 within 0.5 dB. Where neither is needed, one gain is all that happens.

    Returns:
        what was done beside that, a sentence each.

    Raises:
        Unhearable: too short, silent (also but for clicks), or not finite.

    Example:
        >>> clip = np.full(16_000, 0.1, np.float32) + 0.02 * np.sin(np.arange(16_000, dtype=np.float32))
        >>> settle(clip, "normalised")
        ['much of its power is an offset, drift or rumble below 20 Hz, which is taken out']
        >>> round(float(np.std(clip)), 3)
        0.05
    """
    if len(mono) < SHORTEST_S * RATE:
        raise Unhearable(f"too short ({len(mono) / RATE:.3f} s; at least {SHORTEST_S} s are needed)")
    if not all(np.isfinite(part).all() for part in _parts(mono)):
        raise Unhearable("holds samples that are not numbers (NaN or infinite)")
    told = []
    rest = _without_rumble(mono)
    if _peak(mono if rest is None else rest) < SILENT_PEAK:
        raise Unhearable("silent (no sample above -80 dB of full scale)")
    if loudness == "normalised":
        if rest is not None:
            mono[:] = rest
            told.append(RUMBLE)
        if _raise(mono):
            told.append(CLICKS)
    elif _scale_down(mono):
        told.append(INTEGERS)
    np.clip(mono, -1.0, 1.0, out=mono)
    return told


def _parts(mono: Waveform) -> list[Waveform]:
    return [mono[start : start + STEP] for start in range(0, len(mono), STEP)]


def _peak(mono: Waveform) -> float:
    return max(float(np.abs(part).max()) for part in _parts(mono))


def _power(mono: Waveform, gain: float | None = None) -> float:
    """The mean square of samples, or of what is left of them after a gain and clipping."""
    parts = _parts(mono) if gain is None else (np.minimum(np.abs(part) * gain, 1.0) for part in _parts(mono))
    return float(sum(np.sum(np.square(part, dtype=np.float64)) for part in parts) / len(mono))


def _without_rumble(mono: Waveform) -> Waveform | None:
    """The samples without what lies below 20 Hz, or ``None`` where that does not matter."""
    slow = _means(mono, WINDOW)
    drift, power = _means(slow, WINDOWS), _power(mono)
    within = np.mean(slow**2) < KEPT * MOST_RUMBLE * power
    if within and (not len(drift) or np.mean(drift**2) < KEPT * MOST_DRIFT * power):
        return None
    rest = _above(LOWEST_HZ, mono)
    most = (1 - MOST_RUMBLE) * power, (1 - MOST_DRIFT) * power
    return rest if _power(rest) < most[0] or _power(_above(DRIFT_HZ, mono)) < most[1] else None


def _means(samples: npt.NDArray[np.floating], count: int) -> npt.NDArray[np.float64]:
    whole = len(samples) // count * count
    return samples[:whole].reshape(-1, count).mean(axis=1, dtype=np.float64)


def _above(hz: float, mono: Waveform) -> Waveform:
    """Samples without what lies below a frequency; nothing is shifted in time, since they are filtered both ways."""
    return _filtered(hz, _filtered(hz, mono)[::-1])[::-1]


def _filtered(hz: float, samples: Waveform) -> Waveform:
    from scipy.signal import butter, sosfilt, sosfilt_zi

    high = butter(4, hz, "highpass", fs=RATE, output="sos")
    near = _means(samples[: 2 * BEGIN], BEGIN)
    # the clip is taken to have gone on before it began as it goes on after, mirrored: no jump is filtered
    before = 3 * near[0] - near[1] - samples[BEFORE:0:-1].astype(np.float64)
    _, state = sosfilt(high, before, zi=sosfilt_zi(high) * before[:BEGIN].mean())
    rest = np.empty_like(samples)
    for start, part in zip(range(0, len(samples), STEP), _parts(samples), strict=True):
        rest[start : start + STEP], state = sosfilt(high, part.astype(np.float64), zi=state)
    return rest


def _raise(mono: Waveform) -> bool:
    """Scale samples to the level; whether that took more than the gain that their power asks for."""
    gain = TARGET_RMS / np.sqrt(_power(mono))
    np.multiply(mono, gain, out=mono, casting="same_kind")
    if _peak(mono) <= 1.0 or _power(mono, 1.0) >= (TOLERANCE * TARGET_RMS) ** 2:
        return False
    low, high = 1.0, 2.0
    # what is left beside the clicks must itself be above silence
    most = TARGET_RMS / (SILENT_PEAK * gain)
    while _power(mono, high) < TARGET_RMS**2:
        if high > most:
            raise Unhearable("silent but for clicks (no other sample is above -80 dB of full scale)")
        low, high = high, 2 * high
    for _ in range(20):
        middle = (low + high) / 2
        low, high = (middle, high) if _power(mono, middle) < TARGET_RMS**2 else (low, middle)
    np.multiply(mono, high, out=mono, casting="same_kind")
    return True


def _scale_down(mono: Waveform) -> bool:
    """Divide samples that are on a scale of integers by its full scale; whether they are."""
    peak = _peak(mono)
    if peak <= BEYOND:
        return False
    scale = next((scale for scale in SCALES if peak <= 1.25 * scale), None)
    if scale is None:
        raise Unhearable(f"its samples reach {peak:.3g}, where full scale is 1: save it again")
    np.multiply(mono, 1 / scale, out=mono, casting="same_kind")
    return True
