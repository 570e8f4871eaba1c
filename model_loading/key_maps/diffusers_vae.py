"""Names of the Wan 2.1 and 2.2 VAEs in diffusers' AutoencoderKLWan -> official names."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from .renaming import Renaming, Source, Sources

_END = r"\.(weight|bias)"
_STAGE = r"(encoder|decoder)"

_names = Renaming(
    (r"quant_conv" + _END, r"conv1.\1"),
    (r"post_quant_conv" + _END, r"conv2.\1"),
    (_STAGE + r"\.conv_in" + _END, r"\1.conv1.\2"),
    (_STAGE + r"\.norm_out\.gamma", r"\1.head.0.gamma"),
    (_STAGE + r"\.conv_out" + _END, r"\1.head.2.\2"),
    (_STAGE + r"\.mid_block\.attentions\.0\.(.+)", r"\1.middle.1.\2"),
    (_STAGE + r"\.mid_block\.resnets\.0\.(.+)", r"\1.middle.0.\2"),
    (_STAGE + r"\.mid_block\.resnets\.1\.(.+)", r"\1.middle.2.\2"),
    (r"encoder\.down_blocks\.(\d+)\.(.+)", r"encoder.downsamples.\1.\2"),
)
# Parts of a residual block; those of a resampling block have the same names in both.
_PARTS = (
    (re.compile(r"\.norm1\.gamma$"), ".residual.0.gamma"),
    (re.compile(r"\.conv1\.(weight|bias)$"), r".residual.2.\1"),
    (re.compile(r"\.norm2\.gamma$"), ".residual.3.gamma"),
    (re.compile(r"\.conv2\.(weight|bias)$"), r".residual.6.\1"),
    (re.compile(r"\.conv_shortcut\.(weight|bias)$"), r".shortcut.\1"),
)
_UP = re.compile(r"decoder\.up_blocks\.(?P<level>\d+)\.(?P<list>resnets|upsamplers)\.(?P<index>\d+)\.(?P<rest>.+)")
_IN_A_BLOCK = re.compile(r"(?:encoder|decoder)\.(?:downsamples|upsamples|middle)\.\d+\..+")

# A level of the 2.2 VAE: residual blocks, and at its end the resampling, which has no number.
_LEVEL = re.compile(
    r"(?P<stage>encoder\.down|decoder\.up)_blocks\.(?P<level>\d+)\."
    r"(?:resnets\.(?P<index>\d+)|downsampler|upsampler)\.(?P<rest>.+)"
)


def from_diffusers_vae(keys: Iterable[str]) -> Sources:
    """2.1: the official sides are flat lists, where diffusers' decoder has levels. 2.2: both sides have levels."""
    keys = list(keys)
    has_levels = any(key.startswith("encoder.down_blocks.0.resnets.") for key in keys)
    official = _in_levels(keys) if has_levels else _in_flat_lists(keys)
    return {_official(key, official): Source((key,)) for key in keys}


def _official(key: str, in_blocks: Callable[[str], str | None]) -> str:
    name = in_blocks(key) or _names.official(key)
    if _IN_A_BLOCK.fullmatch(name):
        for pattern, replacement in _PARTS:
            name = pattern.sub(replacement, name)
    return name


def _in_flat_lists(keys: list[str]) -> Callable[[str], str | None]:
    """The place of a key in the decoder of 2.1."""
    found = (_UP.fullmatch(key) for key in keys)
    resnets = 1 + max((int(m["index"]) for m in found if m and m["list"] == "resnets"), default=0)

    def place(key: str) -> str | None:
        up = _UP.fullmatch(key)
        if up is None:
            return None
        number = int(up["level"]) * (resnets + 1) + (int(up["index"]) if up["list"] == "resnets" else resnets)
        return f"decoder.upsamples.{number}.{up['rest']}"

    return place


def _in_levels(keys: list[str]) -> Callable[[str], str | None]:
    """The place of a key in the levels of 2.2."""
    resnets: dict[tuple[str, str], int] = {}
    for found in filter(None, (_LEVEL.fullmatch(key) for key in keys)):
        level = found["stage"], found["level"]
        resnets[level] = max(resnets.get(level, 0), 1 + int(found["index"] or -1))

    def place(key: str) -> str | None:
        found = _LEVEL.fullmatch(key)
        if found is None:
            return None
        number = found["index"] or resnets[found["stage"], found["level"]]
        side = found["stage"].rpartition(".")[2]
        return f"{found['stage']}samples.{found['level']}.{side}samples.{number}.{found['rest']}"

    return place
