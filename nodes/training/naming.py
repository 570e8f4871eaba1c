"""What a training on the canvas is called, and where its files go."""

from __future__ import annotations

import re
from functools import partial
from pathlib import Path

from ...common.checking import check_string
from ...common.errors import InvalidInputError
from ...common.printable import printable_name
from ...dit.adapters import parse_blocks
from ...media.place import refuse_outside
from ...tuning.run import TrainingPlaces
from ..hosts.host import host

ENDING = ".safetensors"
_REFUSED = re.compile(r'[<>:"|?*\x00-\x1f]')


def places_of(name: str) -> TrainingPlaces:
    """Where the files of a training lie; raises as `check_name`."""
    plain = check_name(name)
    working = host().own_folder() / "training"
    file = partial("{}.{}{}".format, plain.replace("/", "__"))
    return TrainingPlaces(
        host().trained_folder() / f"{plain}{ENDING}",
        working / file("state", ENDING),
        working / "cache",
        working / file("ended", ENDING),
    )


def check_name(name: str) -> str:
    """The name of a LoRA without its ending.

    Raises:
        InvalidInputError: it is none, or leads out of the folder.
    """
    check_string(name, "name")
    plain = name.strip().replace("\\", "/").removesuffix(ENDING)
    if not Path(plain).name or plain.endswith("/") or _REFUSED.search(plain):
        raise InvalidInputError(
            f"'{printable_name(name)}' cannot be the name of a LoRA. Write one of letters and digits, such as my_cat."
        )
    refuse_outside(plain, host().trained_folder())
    return plain


def check_ranges(blocks: str | None, lowest: float | None, highest: float | None) -> None:
    """Refuses values that do not go together; what comes over a wire is None.

    Raises:
        InvalidInputError: they do not.
    """
    if blocks is not None:
        parse_blocks(blocks.strip() or "all")
    if lowest is not None and highest is not None and not 0 <= lowest < highest <= 1:
        raise InvalidInputError(
            f"lowest is below highest, and both are from 0 to 1, got {lowest:g} and {highest:g}. Use 0 and 1 for all "
            "noise."
        )
