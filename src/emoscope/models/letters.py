"""Which tokens of a vocabulary a model can answer a letter with."""

from __future__ import annotations

import re
from typing import Any

FORM = re.compile(r"\s*[\(\[\"'*]*([A-Z])[\)\]\"'*.:,]*\s*")
"""A letter alone, perhaps in brackets, quotes or emphasis, perhaps with a full stop: "A", " A", "(A", "(A)", "A."."""

LONGEST = 12
"""Vocabulary entries longer than this (raw, in characters) are no letter forms; keeps the search short."""


def letter_forms(tokenizer: Any) -> dict[str, tuple[int, ...]]:
    """Find all single tokens that say one capital letter and nothing else.

    Args:
        tokenizer: of the transformers library; its whole vocabulary is searched.

    Returns:
        letter -> token ids, for the letters that have any, in ascending order.
    """
    special = set(tokenizer.all_special_ids)
    forms: dict[str, list[int]] = {}
    for raw, token in tokenizer.get_vocab().items():
        # decoding a whole vocabulary takes seconds: entries with other than one capital are skipped beforehand
        if len(raw) > LONGEST or token in special or sum("A" <= c <= "Z" for c in raw) != 1:
            continue
        if found := FORM.fullmatch(tokenizer.decode([token])):
            forms.setdefault(found[1], []).append(token)
    return {letter: tuple(sorted(forms[letter])) for letter in sorted(forms)}
