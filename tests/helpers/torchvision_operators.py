"""Lets a torchvision whose compiled part does not fit torch be imported: ``pytest -p tests.helpers.torchvision_operators``.

The ordinary build of torchvision fails beside a torch without CUDA, as two operators are then unknown; nothing that is
tested here calls them. With a torchvision that fits, this is not needed.
"""

from __future__ import annotations

import torch

LIBRARY = torch.library.Library("torchvision", "FRAGMENT")
"""Kept: the operators are forgotten with it."""

for operator in ("nms", "qnms"):
    LIBRARY.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
