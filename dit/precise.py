"""Linear layers computed in float32, whatever form their weights are kept in."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

ROWS = 512
"""Rows of a weight that are made float32 at a time: 10 MB of the widest model, where its largest matrix has 629 MB."""


def in_float32(layers: nn.Sequential, x: Tensor) -> Tensor:
    """`layers` (linear ones and activations) of x [B, width]: [B, width of the last], float32.

    Float32 weights give what calling the layers gives, to the bit. The others stay in memory as they are.
    """
    x = x.float()
    for layer in layers:
        x = _by_rows(layer, x) if isinstance(layer, nn.Linear) and _is_plain_16_bit(layer) else _whole(layer, x)
    return x


def _is_plain_16_bit(layer: nn.Linear) -> bool:
    # A quantised layer keeps its matrix in buffers.
    weight = dict(layer.named_parameters(recurse=False)).get("weight")
    return weight is not None and weight.itemsize == 2


def _by_rows(layer: nn.Linear, x: Tensor) -> Tensor:
    bias = torch.zeros_like(layer.weight[:, 0]) if layer.bias is None else layer.bias
    parts = zip(layer.weight.split(ROWS), bias.split(ROWS))
    return torch.cat([F.linear(x, weight.float(), bias.float()) for weight, bias in parts], dim=-1)


def _whole(layer: nn.Module, x: Tensor) -> Tensor:
    """Of a layer that may be stored or adapted: its own way, with its plain weights in float32."""
    parameters = {name: value.float() for name, value in layer.named_parameters() if value.itemsize == 2}
    return functional_call(layer, parameters, (x,)) if parameters else layer(x)
