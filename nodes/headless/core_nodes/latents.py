"""ComfyUI's nodes about latents: frames to latents and back, latents from files, cut or masked."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from ....common.errors import InvalidInputError, MissingFileError
from ....common.log import logger
from ... import standin as io
from ...hosts.host import host
from ...sockets.latents import REFERENCES_TAG, decodable, family_of, tagged_latent, video_samples
from .pictures import is_there
from .scaling import MAX_SIDE

# Files from before the format had a version hold the latents of Stable Diffusion 1 with its factor.
_UNVERSIONED_SCALE = 1.0 / 0.18215


class LoadLatent(io.ComfyNode):
    """A latent from a file that Save Latent has written.

    Source: ComfyUI, nodes.py, LoadLatent.load
    """

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LoadLatent",
            display_name="Load Latent",
            category="model/latent",
            inputs=[io.String.Input("latent", tooltip="Path of a .latent file, or its name in the input folder.")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def validate_inputs(cls, latent: str | None = None) -> bool | str:
        return is_there(latent, "latent")

    @classmethod
    def execute(cls, latent: str) -> Any:
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        path = host().input_file(latent)
        try:
            tensors = load_file(path)
            samples = tensors["latent_tensor"].float()
        except FileNotFoundError:
            raise MissingFileError(f"There is no latent file {path}. Check the name.") from None
        except (SafetensorError, OSError, KeyError):
            raise InvalidInputError(
                f"{path.name} cannot be read as a latent. Use a file that Save Latent has written."
            ) from None
        scale = 1.0 if "latent_format_version_0" in tensors else _UNVERSIONED_SCALE
        return io.NodeOutput({"samples": samples * scale})


class VAEDecode(io.ComfyNode):
    """Latent to frames; the videos of a batch follow one another."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VAEDecode",
            display_name="VAE Decode",
            category="model/latent",
            inputs=[io.Latent.Input("samples"), io.Vae.Input("vae")],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], vae: Any) -> Any:
        # As there, references before a video are decoded with it; Trim Video Latent cuts them off.
        whole = {key: value for key, value in samples.items() if key != REFERENCES_TAG}
        frames = vae.decode(decodable(vae, whole))  # [B, F, H, W, 3]
        return io.NodeOutput(frames.reshape(-1, *frames.shape[-3:]))


class VAEDecodeTiled(io.ComfyNode):
    """As VAE Decode: the VAE here makes one latent frame after another, in strips that fit, without seams."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VAEDecodeTiled",
            display_name="VAE Decode (Tiled)",
            category="model/latent",
            inputs=[io.Latent.Input("samples"), io.Vae.Input("vae"), *_tile_inputs(32)],
            outputs=[io.Image.Output()],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], vae: Any, **_tiles: int) -> Any:
        _tell_of_tiles()
        return VAEDecode.execute(samples, vae)


class VAEEncode(io.ComfyNode):
    """A clip to its latent."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VAEEncode",
            display_name="VAE Encode",
            category="model/latent",
            inputs=[io.Image.Input("pixels"), io.Vae.Input("vae")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, pixels: Tensor, vae: Any) -> Any:
        family_of(vae)
        return io.NodeOutput(tagged_latent(vae.encode(pixels), vae))


class VAEEncodeTiled(io.ComfyNode):
    """As VAE Encode; see VAE Decode (Tiled)."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="VAEEncodeTiled",
            display_name="VAE Encode (Tiled)",
            category="model/latent",
            inputs=[io.Image.Input("pixels"), io.Vae.Input("vae"), *_tile_inputs(64)],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, pixels: Tensor, vae: Any, **_tiles: int) -> Any:
        _tell_of_tiles()
        return VAEEncode.execute(pixels, vae)


class TrimVideoLatent(io.ComfyNode):
    """A latent without its first latent frames."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="TrimVideoLatent",
            display_name="Trim Video Latent",
            category="model/latent",
            inputs=[io.Latent.Input("samples"), io.Int.Input("trim_amount", default=0, min=0, max=99999)],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], trim_amount: int) -> Any:
        return io.NodeOutput({**samples, "samples": samples["samples"][:, :, trim_amount:]})


_SIDES = {"x": -1, "y": -2, "t": -3}
"""Names of a latent's sides -> the dimension."""


class LatentConcat(io.ComfyNode):
    """Two latents beside, below or after one another."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatentConcat",
            category="model/latent/advanced",
            inputs=[
                io.Latent.Input("samples1"),
                io.Latent.Input("samples2"),
                io.Combo.Input("dim", options=["x", "-x", "y", "-y", "t", "-t"], tooltip="With -, the second first."),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples1: dict[str, Any], samples2: dict[str, Any], dim: str) -> Any:
        one, other = video_samples(samples1), video_samples(samples2)
        if len(other) != len(one):
            other = other.repeat(-(-len(one) // len(other)), 1, 1, 1, 1)[: len(one)]
        side = _SIDES[dim.removeprefix("-")]
        fitting = [list(each.shape) for each in (one, other)]
        for shape in fitting:
            shape[side] = 1
        if fitting[0] != fitting[1]:
            raise InvalidInputError(
                f"Latents of {list(one.shape)} and {list(other.shape)} cannot be joined along {dim}: their other sides "
                "and channels must be the same. Use latents of one size and one VAE."
            )
        pair = (other, one) if dim.startswith("-") else (one, other)
        return io.NodeOutput({**samples1, "samples": torch.cat(pair, dim=side)})


class LatentCut(io.ComfyNode):
    """A part of a latent along one side."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatentCut",
            category="model/latent/advanced",
            inputs=[
                io.Latent.Input("samples"),
                io.Combo.Input("dim", options=list(_SIDES)),
                io.Int.Input("index", default=0, min=-MAX_SIDE, max=MAX_SIDE, step=1, tooltip="Below 0 from the end."),
                io.Int.Input("amount", default=1, min=1, max=MAX_SIDE, step=1),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], dim: str, index: int, amount: int) -> Any:
        whole, side = video_samples(samples), _SIDES[dim]
        length = whole.shape[side]
        start = min(index, length - 1) if index >= 0 else max(length + index, 0)
        return io.NodeOutput({**samples, "samples": whole.narrow(side, start, min(amount, length - start))})


class LatentCutToBatch(io.ComfyNode):
    """A latent in parts along one side, which become the videos of a batch; what is left over is cut off."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="LatentCutToBatch",
            category="model/latent/advanced",
            inputs=[
                io.Latent.Input("samples"),
                io.Combo.Input("dim", options=["t", "x", "y"]),
                io.Int.Input("slice_size", default=1, min=1, max=MAX_SIDE, step=1),
            ],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], dim: str, slice_size: int) -> Any:
        whole, side = video_samples(samples), _SIDES[dim]
        size = min(slice_size, whole.shape[side])
        count = whole.shape[side] // size
        parts = whole.narrow(side, 0, count * size).unflatten(side, (count, size)).movedim(side - 1, 1)
        return io.NodeOutput({**samples, "samples": parts.flatten(0, 1)})


class SetLatentNoiseMask(io.ComfyNode):
    """Where a latent is made anew: white; black is kept."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="SetLatentNoiseMask",
            display_name="Set Latent Noise Mask",
            category="model/latent",
            inputs=[io.Latent.Input("samples"), io.Mask.Input("mask")],
            outputs=[io.Latent.Output()],
        )

    @classmethod
    def execute(cls, samples: dict[str, Any], mask: Tensor) -> Any:
        return io.NodeOutput({**samples, "noise_mask": mask.reshape(-1, 1, *mask.shape[-2:])})


def _tile_inputs(step: int) -> list[Any]:
    """Widgets about tiles; `step`: of the side of one."""
    sizes = (("tile_size", 512, 64, step), ("overlap", 64, 0, 32), ("temporal_size", 64, 8, 4))
    sizes = (*sizes, ("temporal_overlap", 8, 4, 4))
    return [
        io.Int.Input(name, default=default, min=least, max=4096, step=by, advanced=True)
        for name, default, least, by in sizes
    ]


def _tell_of_tiles() -> None:
    logger.info("The sizes of tiles have no effect: the VAE works in strips that fit into memory, without seams.")
