"""A linear layer with weights of 8 bits: a real quantisation, small enough for every machine."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class PackedLinear(nn.Module):
    """Whole numbers from -127 to 127 and a scale for each output; multiplied in the dtype of what comes in."""

    def __init__(self, linear: nn.Linear) -> None:
        super().__init__()
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.register_buffer("scale", linear.weight.detach().abs().amax(1, keepdim=True) / 127)
        whole = (linear.weight.detach() / self.scale).round().to(torch.int8)
        self.weight = nn.Parameter(whole, requires_grad=False)
        self.bias = linear.bias

    def unpacked(self) -> torch.Tensor:
        """The weights as they act, (output, input)."""
        return self.weight * self.scale

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return nn.functional.linear(x, self.unpacked().to(x.dtype), self.bias)


def pack(layers: Any) -> None:
    """Pack every linear layer of some decoder layers."""
    for layer in layers:
        for parent in list(layer.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, nn.Linear):
                    setattr(parent, name, PackedLinear(child))


def unpack(layers: Any) -> None:
    """Put ordinary linear layers with the same weights in the place of packed ones."""
    for layer in layers:
        for parent in list(layer.modules()):
            for name, child in list(parent.named_children()):
                if isinstance(child, PackedLinear):
                    plain = nn.Linear(child.in_features, child.out_features, bias=child.bias is not None)
                    plain.weight, plain.bias = nn.Parameter(child.unpacked()), child.bias
                    setattr(parent, name, plain)
