"""Reading picture files: their pixels in 0..1, whatever numbers they are stored as, and their opacity."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from ..common.errors import InvalidInputError, MissingFileError, WanDirectorError
from ..common.log import logger
from ..common.memory.free_ram import require_ram

# What follows the first picture of these belongs to it: the other eye or a map of depths; layers.
_ONE_PICTURE = frozenset({"MPO", "PSD"})
_BITS_PER_SAMPLE, _SAMPLE_FORMAT, _SIGNED = 258, 339, 2


class Pictures(NamedTuple):
    """The pictures of a file.

    Attributes:
        pixels: [F, H, W, 3], float, in 0..1.
        opacity: [F, H, W], float, in 0..1; None where the file says nothing of it.
    """

    pixels: Tensor
    opacity: Tensor | None


def read_pictures(path: Path) -> Pictures:
    """The picture in a file, or the frames of an animated one, turned as the camera says.

    Whole numbers of any size are scaled by the largest one they can be; floating point numbers must be in 0..1.

    Raises:
        MissingFileError: there is no such file.
        InvalidInputError: it is no picture, damaged, too large, or its numbers are no picture's.
        OutOfMemory: its frames would not fit into RAM.
    """
    with _opened(path) as file:
        frames = [_Frame.of(picture, path) for picture in _each(file, path)]
    same = [frame for frame in frames if frame.pixels.shape == frames[0].pixels.shape]
    if len(same) < len(frames):
        logger.info("%s: %d of %d pictures have another size than the first; they are left out.",
                    path.name, len(frames) - len(same), len(frames))  # fmt: skip
    pixels = torch.stack([frame.pixels for frame in same])
    if all(frame.opacity is None for frame in same):
        return Pictures(pixels, None)
    opaque = torch.ones(pixels.shape[1:3], dtype=torch.float32)
    return Pictures(pixels, torch.stack([opaque if frame.opacity is None else frame.opacity for frame in same]))


class PictureOutline(NamedTuple):
    """What a file holds, as `read_pictures` gives it; `has_opacity`: of the first picture."""

    frames: int
    height: int
    width: int
    has_opacity: bool


def outlined_pictures(path: Path) -> PictureOutline:
    """What a file holds, without decoding it; errors as of `read_pictures`."""
    with _opened(path) as file:
        # 5 to 8 say that the camera was held upright.
        height, width = (file.width, file.height) if file.getexif().get(0x0112, 1) >= 5 else (file.height, file.width)
        return PictureOutline(_count(file), height, width, _has_opacity(file))


def check_pictures(path: Path) -> None:
    """Raises what `read_pictures` would raise, without keeping anything."""
    with _opened(path) as file:
        for picture in _each(file, path):
            _Frame.of(picture, path)


class _Frame(NamedTuple):
    """One picture: pixels [H, W, 3] and opacity [H, W], or None, in 0..1."""

    pixels: Tensor
    opacity: Tensor | None

    @classmethod
    def of(cls, picture: Any, path: Path) -> _Frame:
        if _is_deep(picture):
            grey, opacity = _deep(picture, path)
            return cls(grey[..., None].expand(-1, -1, 3).contiguous(), opacity)
        if not _has_opacity(picture):
            return cls(_scaled(_in_rgb(picture, path)), None)
        picture = picture.convert("RGBA")
        return cls(_scaled(picture.convert("RGB")), _scaled(picture.getchannel("A")))


def _is_deep(picture: Any) -> bool:
    """Whether it has one channel with more than 8 bits."""
    return picture.mode in ("I", "F") or picture.mode.startswith("I;16")


def _has_opacity(picture: Any) -> bool:
    if _is_deep(picture):
        return picture.mode != "F" and picture.info.get("transparency") is not None
    return picture.has_transparency_data


def _in_rgb(picture: Any, path: Path) -> Any:
    try:
        return picture.convert("RGB")
    except ValueError:
        raise InvalidInputError(
            f"{path.name} stores its colours as {picture.mode}, which is not read here. Save it as RGB."
        ) from None


def _scaled(picture: Any) -> Tensor:
    return torch.from_numpy(np.array(picture)).float() / 255


def _deep(picture: Any, path: Path) -> tuple[Tensor, Tensor | None]:
    """A picture of one channel with more than 8 bits: its values [H, W] in 0..1, and its opacity."""
    numbers = np.asarray(picture)
    if picture.mode == "F":
        return _from_floats(numbers, path), None
    numbers, largest = _whole_numbers(picture, numbers)
    if numbers.min() < 0:
        raise InvalidInputError(
            f"{path.name} holds whole numbers from {numbers.min()} to {numbers.max()}, where a picture has none below "
            "0. Scale it to 0 and above, and save it again."
        )
    logger.info("%s: its numbers from 0 to %d become 0 to 1; the brightest is %d.", path.name, largest, numbers.max())
    clear = picture.info.get("transparency")
    opacity = None if clear is None else torch.from_numpy((numbers != clear).astype(np.float32))
    return torch.from_numpy((numbers / largest).astype(np.float32)), opacity


def _whole_numbers(picture: Any, numbers: np.ndarray) -> tuple[np.ndarray, int]:
    """The numbers as stored, and the largest one of their kind."""
    tags = getattr(picture, "tag_v2", {})
    signed = _first(tags.get(_SAMPLE_FORMAT), 1) == _SIGNED
    # A 16-bit PNG is of the mode I, too, where Pillow is older than 11.3.
    default = 32 if picture.mode == "I" and tags else 16
    bits = _first(tags.get(_BITS_PER_SAMPLE), default)
    if bits == 32 and not signed:
        numbers = numbers.astype(np.int32).view(np.uint32)
    return numbers.astype(np.int64), 2 ** (bits - signed) - 1


def _first(value: Any, default: int) -> int:
    if value is None:
        return default
    return int(value[0]) if isinstance(value, tuple) else int(value)


def _from_floats(numbers: np.ndarray, path: Path) -> Tensor:
    bad = int((~np.isfinite(numbers)).sum())
    if bad:
        raise InvalidInputError(
            f"{path.name} holds {bad} numbers that are NaN or infinite, where a picture has numbers from 0 to 1. Save "
            "it again without them."
        )
    low, high = float(numbers.min()), float(numbers.max())
    if low < 0 or high > 1:
        raise InvalidInputError(
            f"{path.name} holds floating point numbers from {low:g} to {high:g}, where a picture has numbers from 0 to "
            "1. Scale it to that range, or save it with 16 bits."
        )
    return torch.from_numpy(numbers.astype(np.float32))


def _each(file: Any, path: Path) -> Iterator[Any]:
    """The pictures of an open file, turned as the camera says."""
    from PIL import ImageOps

    count = _count(file)
    require_ram(
        count * file.width * file.height * 3 * 4, f"The {count} pictures of {path.name}",
        "Use a smaller or shorter one.",
    )  # fmt: skip
    for number in range(count):
        file.seek(number)
        file.load()
        turned: Any = ImageOps.exif_transpose(file)
        if hasattr(file, "tag_v2"):
            turned.tag_v2 = file.tag_v2
        yield turned


def _count(file: Any) -> int:
    return 1 if file.format in _ONE_PICTURE else getattr(file, "n_frames", 1)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """A picture file, open; whatever Pillow complains of in it becomes a sentence."""
    from PIL import Image, UnidentifiedImageError

    try:
        with Image.open(path) as file:
            yield file
        return
    except FileNotFoundError:
        raise MissingFileError(f"There is no picture file {path}. Check the name.") from None
    except (PermissionError, IsADirectoryError) as error:
        refusal = f"cannot be opened: {error.strerror}. Allow reading it, or use another file."
    except (WanDirectorError, MemoryError):
        raise
    except Image.DecompressionBombError:
        limit = 2 * (Image.MAX_IMAGE_PIXELS or 0) / 1e6
        refusal = f"has more than the {limit:.0f} million pixels that a picture may have. Make it smaller."
    except UnidentifiedImageError:
        refusal = "cannot be read as a picture. Use a PNG, JPEG or WebP file."
    except Exception as error:  # a border: Pillow's readers raise anything on hostile bytes
        too_much_text = isinstance(error, ValueError) and "MAX_TEXT" in str(error)
        refusal = (
            "cannot be read as a picture: it carries more text than a picture needs. Save it without its metadata."
            if too_much_text
            else "cannot be read as a picture: it is damaged or cut off. Get it again, or use another one."
        )
    raise InvalidInputError(f"{path.name} {refusal}")
