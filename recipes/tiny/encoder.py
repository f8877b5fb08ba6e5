"""The frozen audio encoder: the first layers of Whisper tiny.en, as Audio Flamingo 3's own encoder class holds them."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file
from torch import Tensor
from transformers import WhisperFeatureExtractor
from transformers.models.audioflamingo3 import AudioFlamingo3EncoderConfig
from transformers.models.audioflamingo3.modeling_audioflamingo3 import AudioFlamingo3Encoder

WHISPER_SHA256 = "1a5afae06a4db91c975c9a9d78be5cc110ee4ea022ad57d55492e4550e936b2a"
"""Checksum of the one file this recipe was written for: Whisper tiny.en in CTranslate2's format, version 6."""

LAYERS = 2
"""Encoder layers kept of Whisper's four: emotion is read best by a linear probe after the second."""

WINDOW_S = 4
"""Length of one audio window in seconds (Whisper's own is 30; the training clips last at most 2.2)."""

WIDTH = 384
MEL_BANDS = 80
POSITIONS = 50 * WINDOW_S
"""Encoder positions per window: 100 mel frames a second, halved by the second convolution."""

CONFIG = {
    "model_type": "audioflamingo3_encoder",
    "num_mel_bins": MEL_BANDS,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": 6,
    "intermediate_size": 4 * WIDTH,
    "hidden_size": WIDTH,
    "max_source_positions": POSITIONS,
}

# CTranslate2's codes of number types
NUMBER_TYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}

State = dict[str, Tensor]


def whisper_state(path: str | Path) -> State:
    """Read the encoder weights out of the Whisper tiny.en file.

    Args:
        path: the CTranslate2 file ``model.bin`` of Whisper tiny.en.

    Returns:
        a state for :class:`AudioFlamingo3Encoder`, float32.

    Raises:
        ValueError: the file is not the one this recipe was written for.
    """
    blob = Path(path).read_bytes()
    found = hashlib.sha256(blob).hexdigest()
    if found != WHISPER_SHA256:
        raise ValueError(f"{path} is not the expected Whisper file: sha256 {found}, expected {WHISPER_SHA256}")
    stored = {name[8:]: array for name, array in _ctranslate2_arrays(blob) if name.startswith("encoder/")}

    def take(name: str) -> Tensor:
        return torch.tensor(stored[name].astype(np.float32))

    state: State = {"embed_positions.weight": take("position_encodings/encodings")[:POSITIONS].clone()}
    for name in ("conv1", "conv2"):
        state[f"{name}.weight"], state[f"{name}.bias"] = take(f"{name}/weight"), take(f"{name}/bias")
    norms = {"layer_norm": "layer_norm"}
    linears: dict[str, str] = {}
    for i in range(LAYERS):
        theirs, ours = f"layer_{i}", f"layers.{i}"
        # query, key and value are stored as one matrix; Whisper's key projection has no bias
        weights = take(f"{theirs}/self_attention/linear_0/weight").split(WIDTH)
        biases = take(f"{theirs}/self_attention/linear_0/bias").split(WIDTH)
        for part, weight, bias in zip("qkv", weights, biases, strict=True):
            state[f"{ours}.self_attn.{part}_proj.weight"] = weight.clone()
            if part != "k":
                state[f"{ours}.self_attn.{part}_proj.bias"] = bias.clone()
        linears |= {
            f"{ours}.self_attn.out_proj": f"{theirs}/self_attention/linear_1",
            f"{ours}.fc1": f"{theirs}/ffn/linear_0",
            f"{ours}.fc2": f"{theirs}/ffn/linear_1",
        }
        norms |= {
            f"{ours}.self_attn_layer_norm": f"{theirs}/self_attention/layer_norm",
            f"{ours}.final_layer_norm": f"{theirs}/ffn/layer_norm",
        }
    for ours, theirs in linears.items():
        state[f"{ours}.weight"], state[f"{ours}.bias"] = take(f"{theirs}/weight"), take(f"{theirs}/bias")
    for ours, theirs in norms.items():
        state[f"{ours}.weight"], state[f"{ours}.bias"] = take(f"{theirs}/gamma"), take(f"{theirs}/beta")
    return state


def _ctranslate2_arrays(blob: bytes) -> Iterator[tuple[str, np.ndarray]]:
    """Walk through a CTranslate2 model, version 6: a header, then name, shape, type and bytes of each array."""
    place = 0

    def number(kind: str) -> int:
        nonlocal place
        (value,) = struct.unpack_from("<" + kind, blob, place)
        place += struct.calcsize("<" + kind)
        return value

    def text() -> str:
        nonlocal place
        size = number("H")
        value = blob[place : place + size - 1].decode()  # the last byte is a terminating zero
        place += size
        return value

    version = number("I")
    if version != 6:
        raise ValueError(f"CTranslate2 file of version {version}: only version 6 can be read")
    text()  # name of the model specification
    number("I")  # its revision
    for _ in range(number("I")):
        name = text()
        shape = [number("I") for _ in range(number("B"))]
        kind = np.dtype(NUMBER_TYPES[number("B")])
        size = number("I")
        yield name, np.frombuffer(blob, kind, count=size // kind.itemsize, offset=place).reshape(shape)
        place += size


def embedded_state(folder: str | Path) -> State:
    """Take the same encoder weights out of a trained model folder (stored there as bfloat16)."""
    stored = load_file(Path(folder) / "model.safetensors")
    state = {name.split(mark)[1]: value.float() for name, value in stored.items() if (mark := "audio_tower.") in name}
    if not state:
        raise ValueError(f"{folder} holds no audio encoder: give a folder that this recipe has written")
    return state


def build_encoder(state: State) -> AudioFlamingo3Encoder:
    """The encoder with these weights, for inference."""
    settings = {name: value for name, value in CONFIG.items() if name != "model_type"}
    encoder = AudioFlamingo3Encoder(AudioFlamingo3EncoderConfig(**settings)).eval()
    encoder.load_state_dict(state)
    return encoder


def feature_extractor() -> WhisperFeatureExtractor:
    """Log-mel features in windows of four seconds."""
    return WhisperFeatureExtractor(feature_size=MEL_BANDS, chunk_length=WINDOW_S)


def audio_tokens(mel_frames: int | Tensor) -> int | Tensor:
    """How many audio tokens a window of so many mel frames gives (a convolution and a pooling halve them)."""
    return (((mel_frames - 1) // 2 + 1) - 2) // 2 + 1
