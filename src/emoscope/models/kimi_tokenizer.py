"""The tokenizer of Kimi-Audio: byte pairs from tiktoken.model, special tokens named by rule."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

PATTERN = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
"""How text is cut before byte pairs are merged, as in the released tokenizer."""

SPECIAL_TOKENS = 421
"""Special tokens that follow the byte pairs; no file of the checkpoint lists them."""

NAMED = {
    0: "[BOS]",
    1: "[EOS]",
    2: "<|im_msg_end|>",
    3: "<|im_user_msg_start|>",
    4: "<|im_assistant_msg_start|>",
    9: "[EOT]",
    18: "<|im_media_begin|>",
    20: "<|im_media_end|>",
    23: "<|im_kimia_text_blank|>",
    24: "<|im_kimia_text_eos|>",
    27: "<|im_kimia_user_msg_start|>",
    28: "<|im_kimia_assistant_msg_start|>",
    32: "<|im_kimia_speech_ct_id|>",
    33: "<|im_kimia_speech_ctd_id|>",
}
"""Place among the special tokens -> name; the others are ``<|reserved_token_N|>``, counted in order."""

END_OF_TEXT = "<|im_kimia_text_eos|>"
"""Ends a written answer; ``[EOS]`` never occurs in one."""


class KimiTokenizer:
    """What the package uses of a tokenizer, on the ``tiktoken`` package.

    Text never becomes a special token: a marker in it is read as ordinary characters.

    Args:
        ranks: byte string -> token id, counted from 0 without gaps.

    Attributes:
        special: name -> id of the special tokens.
        eos_token_id: the token that ends a written answer.
        all_special_ids: ids of all special tokens.

    Raises:
        ValueError: the package ``tiktoken`` is not installed.
    """

    def __init__(self, ranks: Mapping[bytes, int]) -> None:
        try:
            from tiktoken import Encoding
        except ImportError as error:
            raise ValueError("Kimi-Audio needs the package tiktoken: pip install 'emoscope[kimi]'") from error
        self._ranks = dict(ranks)
        self.special = special_tokens(len(ranks))
        self.all_special_ids = list(self.special.values())
        self.eos_token_id = self.special[END_OF_TEXT]
        self._encoding: Any = Encoding(
            "kimi_audio", pat_str=PATTERN, mergeable_ranks=self._ranks, special_tokens=self.special
        )

    @classmethod
    def from_folder(cls, folder: Path) -> KimiTokenizer:
        """Read ``tiktoken.model``: a line is a byte string in base64 and its id.

        Raises:
            FileNotFoundError: there is none.
            ValueError: it is not such a file.
        """
        path = folder / "tiktoken.model"
        if not path.is_file():
            raise FileNotFoundError(f"{folder} holds no tiktoken.model: the tokenizer of Kimi-Audio is missing")
        try:
            pairs = [line.split() for line in path.read_bytes().splitlines() if line]
            ranks = {base64.b64decode(token): int(rank) for token, rank in pairs}
        except ValueError as error:
            raise ValueError(f"{path} is no list of byte strings and ids ({error})") from error
        if sorted(ranks.values()) != list(range(len(pairs))):
            raise ValueError(f"{path} does not count its {len(pairs)} entries from 0 without gaps")
        return cls(ranks)

    def encode(self, text: str) -> list[int]:
        """Token ids of a text."""
        return list(self._encoding.encode(text, disallowed_special=()))

    def decode(self, ids: Sequence[int], skip_special_tokens: bool = False) -> str:
        """The text of token ids; bytes that are no UTF-8 are replaced."""
        special = set(self.all_special_ids) if skip_special_tokens else set()
        return str(self._encoding.decode([token for token in map(int, ids) if token not in special]))

    def get_vocab(self) -> dict[str, int]:
        """Each token -> its id, a character for each byte, so that no two tokens share a name."""
        return {token.decode("latin-1"): rank for token, rank in self._ranks.items()} | self.special

    def __len__(self) -> int:
        return len(self._ranks) + len(self.special)


def special_tokens(first: int) -> dict[str, int]:
    """Name -> id of the special tokens when the first has id ``first``.

    Example:
        >>> names = special_tokens(151_643)
        >>> names["<|im_kimia_text_blank|>"], names["<|reserved_token_406|>"]
        (151666, 152063)
    """
    reserved = iter(range(SPECIAL_TOKENS))
    names = [NAMED.get(place) or f"<|reserved_token_{next(reserved)}|>" for place in range(SPECIAL_TOKENS)]
    return {name: first + place for place, name in enumerate(names)}
