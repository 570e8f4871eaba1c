"""Small additions to a transformer (LoRA and its kin): beside the weights for one run, never in them."""

from .attach import AdapterRun, adapted
from .deltas import Change, Delta, Full, Hadamard, Kronecker, LowRank, Rewritten
from .stack import Adapter, AppliedAdapter, ParameterShapes, check_span, parse_blocks
from .training import frozen, trainable, trainable_parameters

__all__ = [
    "Adapter",
    "AdapterRun",
    "AppliedAdapter",
    "Change",
    "Delta",
    "Full",
    "Hadamard",
    "Kronecker",
    "LowRank",
    "ParameterShapes",
    "Rewritten",
    "adapted",
    "check_span",
    "frozen",
    "parse_blocks",
    "trainable",
    "trainable_parameters",
]
