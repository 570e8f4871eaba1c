"""Names of the Wan 2.1 VAE in diffusers' AutoencoderKLWan -> official names."""

from __future__ import annotations

import re
from collections.abc import Iterable

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


def from_diffusers_vae(keys: Iterable[str]) -> Sources:
    """The official decoder is one flat list where diffusers has levels of residual blocks and an upsampler each."""
    keys = list(keys)
    found = (_UP.fullmatch(key) for key in keys)
    resnets = 1 + max((int(m["index"]) for m in found if m and m["list"] == "resnets"), default=0)
    return {_official(key, resnets): Source((key,)) for key in keys}


def _official(key: str, resnets: int) -> str:
    up = _UP.fullmatch(key)
    if up:
        first = int(up["level"]) * (resnets + 1)
        place = first + (int(up["index"]) if up["list"] == "resnets" else resnets)
        name = f"decoder.upsamples.{place}.{up['rest']}"
    else:
        name = _names.official(key)
    if _IN_A_BLOCK.fullmatch(name):
        for pattern, replacement in _PARTS:
            name = pattern.sub(replacement, name)
    return name
