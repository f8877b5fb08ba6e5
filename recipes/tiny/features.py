"""Encoder features of the training clips, computed once: the encoder is frozen, so training never needs the sound."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import numpy as np
import numpy.typing as npt
import soxr
import torch
from rich.progress import track
from safetensors.numpy import load_file, save_file

from emoscope.corpora.audio import RATE, AudioError, load_audio, prepare_samples

from .encoder import WINDOW_S, State, audio_tokens, build_encoder, feature_extractor

EMOGATOR_LABELS = {
    "02": "happiness",  # "amusement" there
    "03": "anger",
    "10": "disgust",
    "15": "fear",
    "18": "neutral",
    "24": "sadness",
    "28": "surprise",  # the positive one of its two surprises
}
POLISH_LABELS = {"a": "anger", "s": "fear", "n": "neutral"}

TRAIN_SPEAKERS = range(1, 201)
DEVELOPMENT_SPEAKERS = range(201, 226)
"""Recipe choices look at these EmoGator speakers only; later speakers are never opened here."""
TRAIN_TAKES = (1, 2)
SPEEDS = (0.9, 1.0, 1.1)
"""Every training clip is also heard a tenth slower and faster: this closes the gap between known and new speakers."""

Frames = npt.NDArray[np.float16]


@dataclass(frozen=True)
class Clip:
    """One clip at one speed, with what is known about it."""

    name: str
    speaker: str
    emotion: str
    word: str | None = None
    speed: float = 1.0


@dataclass(frozen=True)
class Features:
    """Clips and their encoder frames (audio token, width), before the encoder's final norm."""

    clips: tuple[Clip, ...]
    frames: tuple[Frames, ...]

    def __len__(self) -> int:
        return len(self.clips)

    def save(self, stem: Path) -> None:
        """Write ``stem.safetensors`` and ``stem.json``."""
        lengths = np.array([len(one) for one in self.frames], dtype=np.int64)
        # safetensors writes the memory as it lies, so it has to lie row by row
        frames = np.ascontiguousarray(np.concatenate(self.frames))
        save_file({"frames": frames, "lengths": lengths}, stem.with_suffix(".safetensors"))
        stem.with_suffix(".json").write_text(json.dumps([asdict(clip) for clip in self.clips]))

    @classmethod
    def load(cls, stem: Path) -> Features:
        """Read what :meth:`save` wrote."""
        stored = load_file(stem.with_suffix(".safetensors"))
        frames = np.split(stored["frames"], np.cumsum(stored["lengths"])[:-1])
        clips = json.loads(stem.with_suffix(".json").read_text())
        return cls(tuple(Clip(**clip) for clip in clips), tuple(frames))


def emogator_files(folder: str | Path, speakers: Iterable[int]) -> list[tuple[Path, Clip]]:
    """EmoGator's clips of the seven emotions by these speakers; the names are ``SPEAKER-EMOTION-TAKE.mp3``."""
    wanted = {f"{speaker:06d}" for speaker in speakers}
    found = []
    for path in sorted(Path(folder).glob("*.mp3")):
        speaker, code, _ = path.stem.split("-")
        if speaker in wanted and code in EMOGATOR_LABELS:
            found.append((path, Clip(path.stem, speaker, EMOGATOR_LABELS[code])))
    return _not_empty(found, folder, "EmoGator clips (*.mp3)")


def polish_files(folder: str | Path, takes: Sequence[int]) -> list[tuple[Path, Clip]]:
    """POLISH clips of these takes by all speakers; the names are ``SPEAKER.EMOTION_WORD_TAKE.flac``."""
    found = []
    for path in sorted(Path(folder).glob("*.flac")):
        speaker, rest = path.stem.split(".")
        emotion, word, take = rest.split("_")
        if int(take) in takes:
            found.append((path, Clip(path.stem, speaker, POLISH_LABELS[emotion], word)))
    return _not_empty(found, folder, "POLISH clips (*.flac)")


def _not_empty(found: list[tuple[Path, Clip]], folder: str | Path, what: str) -> list[tuple[Path, Clip]]:
    if not found:
        raise FileNotFoundError(f"{folder} holds no {what}: give the folder with the sound files")
    return found


def at_speed(samples: npt.NDArray[np.float32], speed: float) -> npt.NDArray[np.float32]:
    """Play samples (time,) faster or slower, pitch included, and bring them back to the usual loudness."""
    if speed == 1.0:
        return samples
    return prepare_samples(soxr.resample(samples, RATE * speed, RATE, quality="HQ"))


def encode(files: Sequence[tuple[Path, Clip]], speeds: Sequence[float], state: State) -> Features:
    """Encode these clips; each window's real audio tokens only, windows of one clip joined."""
    torch.set_num_threads(1)
    encoder, extractor, window = build_encoder(state), feature_extractor(), WINDOW_S * RATE
    clips: list[Clip] = []
    windows: list[npt.NDArray[np.float32]] = []
    counts: list[int] = []
    for path, clip in files:
        try:
            samples = load_audio(path)
        except AudioError:
            continue  # a few crowd-sourced clips are empty or silent; the caller compares the counts
        for speed in speeds:
            played = at_speed(samples, speed)
            parts = [played[start : start + window] for start in range(0, len(played), window)]
            clips.append(Clip(clip.name, clip.speaker, clip.emotion, clip.word, speed))
            windows += parts
            counts.append(len(parts))
    before_norm: list[torch.Tensor] = []
    hook = encoder.layer_norm.register_forward_pre_hook(lambda _, inputs: before_norm.append(inputs[0]))
    encoded: list[Frames] = []
    with torch.inference_mode():
        for start in range(0, len(windows), 32):
            mel = extractor(
                windows[start : start + 32],
                sampling_rate=RATE,
                return_tensors="pt",
                padding="max_length",
                return_attention_mask=True,
            )
            encoder(mel["input_features"], input_features_mask=mel["attention_mask"])
            sizes = audio_tokens(mel["attention_mask"].sum(-1))
            encoded += [
                hidden[: int(size)].half().numpy() for hidden, size in zip(before_norm.pop(), sizes, strict=True)
            ]
    hook.remove()
    parts_of = np.split(np.arange(len(windows)), np.cumsum(counts)[:-1])
    return Features(tuple(clips), tuple(np.concatenate([encoded[i] for i in parts]) for parts in parts_of))


def encode_in_parallel(
    title: str, files: Sequence[tuple[Path, Clip]], speeds: Sequence[float], state: State, workers: int
) -> Features:
    """Encode with several processes of one thread each, showing progress; the order of the clips is kept."""
    batches = [files[start : start + 60] for start in range(0, len(files), 60)]
    work = partial(encode, speeds=speeds, state=state)
    if workers < 2:
        results = [work(batch) for batch in track(batches, description=title)]
    else:
        with ProcessPoolExecutor(workers) as pool:
            results = list(track(pool.map(work, batches), description=title, total=len(batches)))
    joined = Features(
        tuple(clip for result in results for clip in result.clips),
        tuple(frame for result in results for frame in result.frames),
    )
    lost = len(files) * len(speeds) - len(joined)
    print(f"{title}: {len(joined)} clips ({lost} unusable), {np.mean([len(f) for f in joined.frames]):.1f} tokens each")
    return joined


@dataclass(frozen=True)
class Cache:
    """The three groups of features that the recipe needs."""

    emogator: Features | None
    polish: Features
    development: Features | None


def prepare(emogator: str | Path, polish: str | Path, state: State, folder: str | Path) -> Cache:
    """Compute the features, or read those that an earlier run left in ``folder``."""
    folder, workers = Path(folder), os.cpu_count() or 1
    folder.mkdir(parents=True, exist_ok=True)

    def group(name: str, files: list[tuple[Path, Clip]], speeds: Sequence[float]) -> Features:
        stem = folder / name
        if not stem.with_suffix(".json").exists():  # written last
            encode_in_parallel(name, files, speeds, state, workers).save(stem)
        return Features.load(stem)

    return Cache(
        polish=group("polish", polish_files(polish, TRAIN_TAKES), SPEEDS),
        development=group("development", emogator_files(emogator, DEVELOPMENT_SPEAKERS), (1.0,)),
        emogator=group("emogator", emogator_files(emogator, TRAIN_SPEAKERS), SPEEDS),
    )
