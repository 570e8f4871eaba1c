"""The folder that a command is started in."""

from __future__ import annotations

import os

from ....common.errors import InvalidInputError


def check_own_folder() -> None:
    """Refuses to start in a folder that has been removed: not even torch's libraries can be loaded there.

    Raises:
        InvalidInputError: it has.
    """
    try:
        os.getcwd()
    except OSError as error:
        raise InvalidInputError(
            f"The folder that this was started in is not there any more ({error.strerror}). Change to another folder, "
            "or make it again and change to it anew."
        ) from None
