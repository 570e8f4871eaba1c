"""LoRA files of every published form -> adapters under official names, and a report of what fitted; and back."""

from .describe import describe_lora
from .load import LoadedLora, check_lora, read_lora, read_lora_checkpoint
from .report import LoraReport
from .writing import lora_tensors

__all__ = [
    "LoadedLora",
    "LoraReport",
    "check_lora",
    "describe_lora",
    "lora_tensors",
    "read_lora",
    "read_lora_checkpoint",
]
