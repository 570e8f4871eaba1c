"""`inspect`."""

from __future__ import annotations

import argparse

from ....common.errors import CheckpointError, MissingFileError
from ....model_loading.build import check_complete
from ....model_loading.describe import describe
from ....model_loading.lora import describe_lora
from ....model_loading.opening import open_checkpoint
from ....model_loading.recognition.detect import inspect_checkpoint
from ....model_loading.recognition.foreign import is_lora
from ...files.places import LOAD_LORA, TITLES
from .session import Session
from .terminal import say


def inspect(options: argparse.Namespace, _session: Session) -> None:
    """Prints what a model file is; then refuses one that lacks tensors."""
    try:
        checkpoint = open_checkpoint(options.file)
        if is_lora(checkpoint.tensors):
            say(describe_lora(checkpoint, TITLES[LOAD_LORA]))
            return
        spec = inspect_checkpoint(checkpoint)
        text = describe(spec, checkpoint)
    except OSError as error:
        if isinstance(error, MissingFileError):
            raise
        raise CheckpointError(
            f"{options.file} cannot be read ({error.strerror or type(error).__name__}). Check its permissions and the "
            "disk, or copy it anew."
        ) from None
    say(text)
    check_complete(spec)
