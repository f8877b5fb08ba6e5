"""Which tokens of a vocabulary say a letter, and how likely a model is to say each letter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from emoscope.models.values import Score

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


def score_letters(
    logits: torch.Tensor, asked: Sequence[tuple[str, ...]], forms: Mapping[str, tuple[int, ...]], tokenizer: Any
) -> tuple[list[Score], torch.Tensor]:
    """Score the letters that each row may answer.

    A letter's probability is the sum over its token forms, over the whole vocabulary.

    Args:
        logits: (row, vocab).
        asked: the letters of each row.
        forms: letter -> token ids.
        tokenizer: decodes the likeliest token.

    Returns:
        one score per row, and for each row the token id of the likeliest form of its best letter, (row,).

    Raises:
        ValueError: a row without letters.
    """
    if not all(asked):
        raise ValueError(
            f"row {[bool(row) for row in asked].index(False)} has no letters to score: generate its answer"
        )
    logp = torch.log_softmax(logits.double(), -1)
    letters = sorted({letter for row in asked for letter in row})
    by_form = {letter: logp[:, list(forms[letter])].cpu() for letter in letters}
    by_letter = {letter: values.logsumexp(-1).numpy() for letter, values in by_form.items()}
    favourite = {letter: values.argmax(-1).tolist() for letter, values in by_form.items()}
    top = logp.argmax(-1).tolist()
    words = {token: tokenizer.decode([token]) for token in set(top)}
    scores, best = [], []
    for row, options in enumerate(asked):
        values = np.array([by_letter[letter][row] for letter in options])
        letter = options[int(values.argmax())]
        scores.append(Score(values, float(np.exp(values).sum()), words[top[row]], letter))
        best.append(forms[letter][favourite[letter][row]])
    return scores, torch.tensor(best)
