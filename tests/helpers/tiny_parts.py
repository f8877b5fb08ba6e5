"""What tiny checkpoints of several families share: a byte-level tokenizer, shards with an index."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from safetensors.torch import save_file
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

SAMPLING = {"do_sample": True, "temperature": 0.7, "top_p": 0.8, "top_k": 20, "repetition_penalty": 1.05}
"""What a released generation_config.json may ask for, and what must not be used."""


def tiny_tokenizer(special: Sequence[str], named: dict[str, str] | None = None) -> PreTrainedTokenizerFast:
    """A tokenizer with a vocabulary of 320 in which letters such as " (A)" are single tokens.

    Args:
        special: further special tokens after <|endoftext|> (pads), <|im_start|> and <|im_end|> (ends).
        named: names under which a family's processor reads some of them, such as ``{"audio_token": ...}``.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r" ?\([A-Z]\)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+"), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=320,
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        special_tokens=["<|endoftext|>", "<|im_start|>", "<|im_end|>", *special],
        show_progress=False,
    )
    lines = [f"user\nWhich emotion does the speaker express? ({c}) assistant\n {c}" for c in "ABCDEFG"] * 3
    tokenizer.train_from_iterator(lines, trainer)
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named or ["<|im_start|>", *special],
        padding_side="left",
    )


def save_as_qwen(tokenizer: PreTrainedTokenizerFast, folder: Path) -> None:
    """Save a tokenizer as the Qwen repositories hold theirs: of their class, with vocab.json and merges.txt beside."""
    tokenizer.save_pretrained(folder)
    settings = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(settings | {"tokenizer_class": "Qwen2Tokenizer"}))
    parts = json.loads((folder / "tokenizer.json").read_text())["model"]
    (folder / "vocab.json").write_text(json.dumps(parts["vocab"]))
    merges = [" ".join(merge) for merge in parts["merges"]]
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges]))


def write_shards(folder: Path, tensors: dict[str, torch.Tensor], shards: int = 3) -> None:
    """Write tensors as ``model-00001-of-0000N.safetensors`` and an index, each shard with parts of every layer."""
    names = sorted(tensors)
    index: dict[str, str] = {}
    for shard in range(shards):
        file = f"model-{shard + 1:05d}-of-{shards:05d}.safetensors"
        part = names[shard::shards]
        save_file({name: tensors[name].contiguous() for name in part}, folder / file, metadata={"format": "pt"})
        index |= dict.fromkeys(part, file)
    total = sum(tensor.numel() * tensor.element_size() for tensor in tensors.values())
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": dict(sorted(index.items()))}, indent=1)
    )
