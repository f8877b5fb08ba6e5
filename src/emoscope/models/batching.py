"""Pad prepared rows to one batch."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from emoscope.models.values import PADDING, Batch, Prepared


def pad(prepared: Sequence[Prepared], side: str, device: torch.device) -> Batch:
    """Pad rows to the length of the longest.

    Args:
        prepared: one or more rows.
        side: ``"left"`` or ``"right"``, where the padding goes.
        device: where the batch is wanted.

    Raises:
        ValueError: no rows.

    Example:
        >>> rows = [Prepared(torch.ones(n, 4), torch.tensor([1] * (n - 1) + [2], dtype=torch.int8), ("A",)) for n in (1, 3)]
        >>> pad(rows, "left", torch.device("cpu")).scopes.tolist()
        [[-1, -1, 2], [1, 1, 2]]
    """
    if not prepared:
        raise ValueError("no rows: a batch needs at least one prepared request")
    lengths = torch.tensor([len(row) for row in prepared])
    shape = len(prepared), int(lengths.max())
    embeddings = torch.zeros(*shape, prepared[0].embeddings.shape[1], dtype=prepared[0].embeddings.dtype)
    scopes = torch.full(shape, PADDING, dtype=torch.int8)
    for i, row in enumerate(prepared):
        place = slice(shape[1] - len(row), None) if side == "left" else slice(len(row))
        embeddings[i, place], scopes[i, place] = row.embeddings, row.scopes
    mask = (scopes != PADDING).long()
    position_ids = (mask.cumsum(1) - 1).clamp(min=0)
    if prepared[0].position_ids is not None:
        position_ids = torch.zeros(*prepared[0].position_ids.shape[:-1], *shape, dtype=torch.long)
        for i, row in enumerate(prepared):
            assert row.position_ids is not None
            position_ids[..., i, mask[i].bool()] = row.position_ids
    return Batch(
        embeddings.to(device),
        mask.to(device),
        position_ids.to(device),
        scopes.to(device),
        lengths.to(device),
        tuple(row.letters for row in prepared),
    )
