"""Our models in the hands of native nodes that want to change them, or look into them."""

from __future__ import annotations

from typing import NoReturn

from ...common.errors import InvalidInputError


class UnknownPartError(InvalidInputError, AttributeError):
    """A native node asked one of our models for something it has not; for whoever only tries, it is not there."""


class Unchangeable:
    """Of a model object that native nodes can use, and not change or open.

    Whoever asks whether something is there gets no; whoever takes it for granted gets a sentence.
    """

    what = "model"
    native_loader = "ComfyUI's own loader"

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(name)
        raise self.refusal(name)

    def refusal(self, name: str) -> UnknownPartError:
        """The sentence about something that is not there; `name`: of it."""
        return UnknownPartError(
            f"The {self.what} that is connected is one of Wan Director's, which this node cannot change or open "
            f"('{name}'). Load the file with {self.native_loader} for it; Wan Director's nodes take that one too."
        )


class Tokens(dict[str, list]):
    """Tokens by the name of their encoder."""

    def __missing__(self, name: str) -> NoReturn:
        raise InvalidInputError(
            f"This node encodes for the text encoder '{name}' of another kind of model, and Wan's is "
            f"{', '.join(self)}. Use Wan Text Encode or CLIP Text Encode."
        )


def needs_all_layers() -> InvalidInputError:
    """That the last layers of a text encoder cannot be left out."""
    return InvalidInputError(
        "CLIP Set Last Layer leaves out layers of the text encoder, and the Wan models were trained with all of them. "
        "Remove it, or use Load CLIP (type wan)."
    )
