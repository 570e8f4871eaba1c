"""LoRA files of every published form -> adapters under official names, and a report of what fitted."""

from .describe import describe_lora
from .load import LoadedLora, check_lora, read_lora
from .report import LoraReport

__all__ = ["LoadedLora", "LoraReport", "check_lora", "describe_lora", "read_lora"]
