"""Write a tiny random checkpoint in the layout of a released one: names of weights, shards, sampling settings.

tiny_families.py and tiny_kimi.py say what the families differ in.
"""

from __future__ import annotations

import base64
import json
import tomllib
from collections.abc import Iterable, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
import transformers as hf
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

TINY: dict[str, Any] = tomllib.loads(Path(__file__).with_suffix(".toml").read_text(encoding="utf-8"))
"""What the families declare."""

SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
"""What a released generation_config.json may ask for, and what must not be used."""

OFFICIAL = (
    ("thinker.model.language_model.", "thinker.model."),
    ("thinker.model.", "thinker."),
    ("model.language_model.", "language_model.model."),
    ("lm_head.", "language_model.lm_head."),
    *((f"model.{part}.", f"{part}.") for part in ("audio_tower", "multi_modal_projector", "encoder", "projector")),
)
"""Prefix in memory (transformers 5) -> prefix in the released files."""

RANK = TINY["adapter"]["plain"]["r"]
"""Of the adapters (64 and 320 in the released models)."""


def tokenizer(family: str) -> Any:
    """A tokenizer with a vocabulary of 320 in which letters such as " (A)" are single tokens.

    Special tokens of the family follow <|endoftext|> (pads), <|im_start|> and <|im_end|> (ends).
    """
    about = TINY[family]["tokenizer"]
    special = about["special"]
    made = Tokenizer(models.BPE())
    words = pre_tokenizers.Split(Regex(r" ?\([A-Z]\)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"), "isolated")
    made.pre_tokenizer = pre_tokenizers.Sequence(
        [words, pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)]
    )
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False,
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special],
    )  # fmt: skip
    lines = [f"user\nWhich emotion does the speaker express? ({c}) assistant\n {c}" for c in "ABCDEFG"] * 3
    made.train_from_iterator(lines, trainer)
    template = {"chat_template": about["template"]} if "template" in about else {}
    return hf.PreTrainedTokenizerFast(
        tokenizer_object=made, eos_token="<|im_end|>", pad_token="<|endoftext|>", padding_side="left",
        extra_special_tokens=about.get("named") or ["<|im_start|>", *special], **template,
    )  # fmt: skip


def settings(family: str, words: Any, **ids: int) -> dict[str, Any]:
    """What the configuration of a family is made from; ``words`` is its tokenizer, or whatever has its size."""
    given = deepcopy(TINY[family]["config"])
    text = TINY["text"] | {"bos_token_id": None, "vocab_size": len(words)}
    return given | {"text_config": text | given["text_config"]} | ids


def save_as_qwen(made: Any, folder: Path) -> None:
    """Save a tokenizer as the Qwen repositories hold theirs: of their class, with vocab.json and merges.txt beside."""
    made.save_pretrained(folder)
    amend(folder / "tokenizer_config.json", {"tokenizer_class": "Qwen2Tokenizer"})
    parts = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(parts["vocab"]))
    merges = [" ".join(merge) for merge in parts["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))


def extractor(seconds: int, **more: Any) -> hf.WhisperFeatureExtractor:
    """Log-mel features of windows of so many seconds."""
    return hf.WhisperFeatureExtractor(feature_size=80, chunk_length=seconds, **more)


def amend(path: Path, changes: dict[str, Any]) -> None:
    """Set entries of a JSON file."""
    path.write_text(json.dumps(json.loads(path.read_text()) | changes, indent=1))


def build(kind: Any, config: Any, seed: int) -> Any:
    """A model with random weights."""
    torch.manual_seed(seed)
    return kind(config).eval()


def save(
    folder: Path,
    model: Any,
    ends: dict[str, Any],
    config: dict[str, Any] | None = None,
    raw: dict[str, Any] | None = None,
    keep_names: bool = False,
    tied: str = "",
    more: dict[str, torch.Tensor] | None = None,
    shards: int = 3,
) -> Path:
    """Write configuration, sampling settings and shards, each with parts of every layer.

    ``config`` changes entries of the model's own config.json, ``raw`` takes its place; ``tied`` is not stored, ``more``
    is stored beside the weights. With ``keep_names`` the released files have the names in memory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if raw is None:
        model.config.save_pretrained(folder)
        amend(folder / "config.json", config or {})
    else:
        (folder / "config.json").write_text(json.dumps(raw, indent=1))
    (folder / "generation_config.json").write_text(json.dumps(SAMPLING | ends, indent=1))
    tensors = {
        key if keep_names else official_name(key): value for key, value in model.state_dict().items() if key != tied
    } | (more or {})
    names = sorted(tensors)
    files = {f"model-{n + 1:05d}-of-{shards:05d}.safetensors": names[n::shards] for n in range(shards)}
    write_files(folder, {file: {name: tensors[name] for name in part} for file, part in files.items()})
    return folder


def official_name(key: str) -> str:
    """Key name in the released files of a parameter's name in memory."""
    found = next(((ours, theirs) for ours, theirs in OFFICIAL if key.startswith(ours)), ("", ""))
    return found[1] + key.removeprefix(found[0])


def write_files(folder: Path, shards: dict[str, dict[str, torch.Tensor]]) -> None:
    """Write shards and their index."""
    for file, part in shards.items():
        # a copy: tied weights share their memory
        save_file({k: v.clone().contiguous() for k, v in part.items()}, folder / file, metadata={"format": "pt"})
    total = sum(tensor.numel() * tensor.element_size() for part in shards.values() for tensor in part.values())
    index = {name: file for file, part in shards.items() for name in part}
    written = {"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}
    (folder / "model.safetensors.index.json").write_text(json.dumps(written, indent=1))


def save_adapter(
    folder: Path, layers: Iterable[Any], stem: str, targets: Sequence[str], seed: int, size: float, more: dict[str, Any]
) -> None:
    """Write a low-rank adapter for some layers of a decoder, as the package peft does."""
    folder.mkdir(exist_ok=True)
    draw, factors = torch.Generator().manual_seed(seed), {}
    for number, layer in enumerate(layers):
        for name in targets:
            rows, columns = layer.get_submodule(name).weight.shape
            factors[f"{stem}.{number}.{name}.lora_A.weight"] = torch.randn(RANK, columns, generator=draw) * size
            factors[f"{stem}.{number}.{name}.lora_B.weight"] = torch.randn(rows, RANK, generator=draw) * size
    save_file(factors, folder / "adapter_model.safetensors", metadata={"format": "pt"})
    config = TINY["adapter"]["plain"] | more
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=1))


def write_tekken(path: Path, chunk_s: float) -> range:
    """Write a tokenizer with 256 bytes and a few merges in which letters such as "(A" are single tokens; its ids."""
    about = TINY["voxtral"]
    special = dict(enumerate(about["special"])) | {int(n): name for n, name in about["special_beyond"].items()}
    merges = [f"{before}{c}" for before in "( " for c in "ABCDEFG"] + ["em", "ot", "io", "emot", "ion", "th", "er"]
    tokens = [bytes([i]) for i in range(256)] + [merge.encode() for merge in merges]
    count = about["tekken"]["config"]["default_num_special_tokens"]
    sizes = {"num_vocab_tokens": len(tokens), "default_vocab_size": len(tokens) + count}
    content = {
        "config": about["tekken"]["config"] | sizes,
        "vocab": [
            {"rank": i, "token_bytes": base64.b64encode(t).decode(), "token_str": None} for i, t in enumerate(tokens)
        ],
        "special_tokens": [
            {"rank": i, "token_str": special.get(i, f"<SPECIAL_{i}>"), "is_control": True} for i in range(count)
        ],
        "audio": about["tekken"]["audio"] | {"chunk_length_s": float(chunk_s)},
    }
    path.write_text(json.dumps(content))
    return range(len(tokens) + count)
