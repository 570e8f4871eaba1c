"""Nodes of ComfyUI's own that take our models, or give theirs to our nodes, as far as a plan needs them.

Names, inputs and outputs are those of ComfyUI v0.33.0, nodes.py.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from ...common.empty_tensors import empty
from ...common.families import WAN_2_1
from ...common.shapes import latent_frames, video_frames
from ...model_loading.kinds import VAE
from ...model_loading.outline import outline
from ...vae3d.config import VAEConfig
from .. import standin as io
from ..files.model_files import find_model
from ..headless.core_nodes import CORE_NODES, LIGHT_CORE_NODES
from ..registry import registered
from .native_models import MODEL_NODES

HANDING_ON = frozenset({
    "ConditioningConcat", "ConditioningAverage", "ConditioningZeroOut", "ConditioningSetTimestepRange",
    "ImagePadForOutpaint", "TrimVideoLatent", "SaveAnimatedWEBP",
    "ConditioningMultiply", "ConditioningSetArea", "ConditioningSetAreaPercentage", "ConditioningSetAreaStrength",
    "ConditioningSetMask", "RepeatLatentBatch", "LatentBatch", "SaveWEBM",
    "SaveAnimatedPNG", "SaveAudio", "SaveLatent", "PreviewAudio", "Note", "MarkdownNote", "Reroute", "PrimitiveNode",
})  # fmt: skip
"""Nodes of ComfyUI's without a model, whose memory is not worth planning; what they are given first comes out."""


class Foreign:
    """A model that ComfyUI loads and whose memory it manages: what it takes is not known here.

    Attributes:
        is_used: whether it was, since somebody asked.
    """

    is_used = False


class ForeignVAE(Foreign):
    """ComfyUI's VAE of a file that we know; see `models.WanVAE`."""

    latent_dim = 3

    def __init__(self, config: VAEConfig) -> None:
        self._stride = config.spatial_stride
        self.latent_channels = config.latent_channels

    def spacial_compression_encode(self) -> int:
        return self._stride

    def spacial_compression_decode(self) -> int:
        return self._stride

    def encode(self, pixel_samples: Tensor) -> Tensor:
        self.is_used = True
        frames, height, width = pixel_samples.shape[-4:-1]
        return empty(1, self.latent_channels, latent_frames(frames), height // self._stride, width // self._stride)

    def decode(self, samples_in: Tensor) -> Tensor:
        self.is_used = True
        batch, _, count, height, width = samples_in.shape
        return empty(batch, video_frames(count), height * self._stride, width * self._stride, 3)


class ForeignTextEncoder(Foreign):
    """ComfyUI's text encoder; see `models.WanTextEncoder`."""

    def tokenize(self, text: str) -> str:
        return text

    def encode_from_tokens_scheduled(self, tokens: str) -> list:
        self.is_used = True
        return [[empty(1, 512, WAN_2_1.text_width), {}]]


class NativeVAELoader(io.ComfyNode):
    """ComfyUI's VAE."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(node_id="VAELoader", inputs=[io.String.Input("vae_name")], outputs=[io.Vae.Output()])

    @classmethod
    def execute(cls, vae_name: str) -> Any:
        return io.NodeOutput(ForeignVAE(outline(find_model(VAE.folder_name, vae_name), VAE).spec.config))


class NativeCLIPLoader(io.ComfyNode):
    """ComfyUI's text encoder."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(node_id="CLIPLoader", inputs=[io.String.Input("clip_name")], outputs=[io.Clip.Output()])

    @classmethod
    def execute(cls, clip_name: str) -> Any:
        return io.NodeOutput(ForeignTextEncoder())


class NativeCLIPTextEncode(io.ComfyNode):
    """One prompt."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.Clip.Input("clip"), io.String.Input("text", default="")]
        return io.Schema(node_id="CLIPTextEncode", inputs=inputs, outputs=[io.Conditioning.Output()])

    @classmethod
    def execute(cls, clip: Any, text: str) -> Any:
        return io.NodeOutput(clip.encode_from_tokens_scheduled(clip.tokenize(text)))


class NativeCLIPVisionEncode(io.ComfyNode):
    """The features of a picture."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.ClipVision.Input("clip_vision"), io.Image.Input("image")]
        return io.Schema(node_id="CLIPVisionEncode", inputs=inputs, outputs=[io.ClipVisionOutput.Output()])

    @classmethod
    def execute(cls, clip_vision: Any, image: Tensor) -> Any:
        return io.NodeOutput(clip_vision.encode_image(image))


class NativeVAEDecode(io.ComfyNode):
    """Latent to frames."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.Latent.Input("samples"), io.Vae.Input("vae")]
        return io.Schema(node_id="VAEDecode", inputs=inputs, outputs=[io.Image.Output()])

    @classmethod
    def execute(cls, samples: dict, vae: Any) -> Any:
        return io.NodeOutput(vae.decode(samples["samples"]).flatten(0, 1))


class NativeVAEEncode(io.ComfyNode):
    """Frames to latent."""

    @classmethod
    def define_schema(cls) -> Any:
        inputs = [io.Image.Input("pixels"), io.Vae.Input("vae")]
        return io.Schema(node_id="VAEEncode", inputs=inputs, outputs=[io.Latent.Output()])

    @classmethod
    def execute(cls, pixels: Tensor, vae: Any) -> Any:
        return io.NodeOutput({"samples": vae.encode(pixels)})


_NODES = (
    NativeVAELoader,
    NativeCLIPLoader,
    NativeCLIPTextEncode,
    NativeCLIPVisionEncode,
    NativeVAEDecode,
    NativeVAEEncode,
)

NATIVE_NODES: dict[str, type] = {node.define_schema().node_id: node for node in _NODES} | {
    "VAEDecodeTiled": NativeVAEDecode,
    "VAEEncodeTiled": NativeVAEEncode,
}
"""Name in a workflow -> class."""


def known_classes() -> dict[str, type]:
    """What can be planned of a workflow that ComfyUI runs: our nodes, and those of its own that are known here.

    Models that its own nodes load and sample with are its own matter: it manages their memory itself.
    """
    light = {name: CORE_NODES[name] for name in LIGHT_CORE_NODES}
    return {**light, **NATIVE_NODES, **MODEL_NODES, **registered()}
