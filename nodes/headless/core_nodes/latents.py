"""ComfyUI's Load Latent, for the command line: a latent that was kept can be decoded there too."""

from __future__ import annotations

from typing import Any

from ....common.errors import InvalidInputError, MissingFileError
from ... import standin as io
from ...hosts.host import host
from .pictures import is_there

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
