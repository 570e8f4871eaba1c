"""The model objects that travel between nodes.

`WanVAE`, `WanTextEncoder` and `WanClipVision` answer the calls that ComfyUI's own nodes make on its VAE, CLIP and
CLIP_VISION objects; names and argument orders are ComfyUI's.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping
from dataclasses import replace
from functools import lru_cache, partial
from typing import Any

import torch
from torch import Tensor, nn

from ...common.families import Family
from ...common.log import logger
from ...common.records import record
from ...common.shapes import TEMPORAL_STRIDE
from ...engine.embed import embed_picture, embed_prompt
from ...engine.loaded import PlacedModel, place
from ...engine.memory import AUTOMATIC, MemorySettings
from ...engine.models import VideoModel, load_model
from ...engine.recipe import ModelRecipe
from ...engine.runtime import Residence, Runtime
from ...engine.vae import decode, decode_whole, encode
from ...model_loading.spec import ModelSpec
from ...text_encoder.clip_vision import ClipVisionOutput
from ...text_encoder.encode import PromptTokens, tokenize_weighted_prompt
from .ram_pressure import KeptUnderPressure
from .unchangeable import Tokens, Unchangeable, needs_all_layers

TOKENS_KEY = "umt5xxl"
"""Under which ComfyUI keeps the tokens of this text encoder."""


VAE_TAG = "wan_director_vae"
TEXT_TAG = "wan_director_text"
MODEL_TAG = "wan_director_model"


@record
class MadeBy:
    """Which file made a latent or an embedding; it travels inside native dictionaries under the tags above."""

    spec: ModelSpec

    def __deepcopy__(self, _memo: dict) -> MadeBy:
        return self


@record(eq=False, slots=False)
class WanModel(VideoModel, KeptUnderPressure):
    """A video transformer, on the socket WAN_DIRECTOR_MODEL, with the LoRAs of its next run."""

    def residences(self) -> tuple[Residence, ...]:
        return (self.residence,) if self.low_noise is None else (self.residence, self.low_noise.model.residence)


@record(eq=False, slots=False)
class WanVAE(Unchangeable, KeptUnderPressure):
    """A video autoencoder, on the socket VAE. Latents are raw; pictures [B, F, H, W, 3] or [F, H, W, 3] in 0..1."""

    placed: PlacedModel
    memory: MemorySettings = AUTOMATIC

    what = "VAE"
    native_loader = "Load VAE"
    latent_dim = 3
    output_channels = 3
    not_video = False

    @property
    def family(self) -> Family:
        return self.spec.family

    @property
    def latent_channels(self) -> int:
        return self.spec.config.latent_channels

    @property
    def downscale_ratio(self) -> tuple[Callable[[int], int], int, int]:
        stride = self.spacial_compression_encode()
        return lambda frames: max(0, (frames + TEMPORAL_STRIDE - 1) // TEMPORAL_STRIDE), stride, stride

    @property
    def upscale_ratio(self) -> tuple[Callable[[int], int], int, int]:
        stride = self.spacial_compression_decode()
        return lambda frames: max(0, frames * TEMPORAL_STRIDE - TEMPORAL_STRIDE + 1), stride, stride

    def spacial_compression_encode(self) -> int:
        return self.spec.config.spatial_stride

    def spacial_compression_decode(self) -> int:
        return self.spec.config.decoded_stride

    def temporal_compression_decode(self) -> int:
        return TEMPORAL_STRIDE

    def throw_exception_if_invalid(self) -> None:
        """ComfyUI asks this before it uses a VAE; a loaded one of ours is always valid."""

    def encode(self, pixel_samples: Tensor) -> Tensor:
        """Pictures -> raw latent [B, C, T, h, w], float32, CPU; four dimensions are one clip.

        Frames beyond 1 + 4k and pixels beyond a multiple of 8 are left out, as ComfyUI's VAE does; our own nodes
        refuse them before.
        """
        clips = pixel_samples if pixel_samples.ndim == 5 else pixel_samples[None]
        return torch.cat([encode(self.placed, clip, self.memory) for clip in self._cropped(clips[..., :3]).split(1)])

    def decode(self, samples_in: Tensor, vae_options: dict | None = None) -> Tensor:
        """Raw latent [B, C, T, h, w] -> pictures [B, F, H, W, 3] in 0..1, float32, CPU."""
        return decode_whole(self.placed, samples_in, self.memory)

    def decode_frames(self, samples: Tensor) -> Generator[Tensor, None, None]:
        """As `decode`, giving frame by frame [H, W, 3] as they are made; the videos of a batch follow one another."""
        return decode(self.placed, samples, self.memory)

    def encode_tiled(self, pixel_samples: Tensor, **_tiles: Any) -> Tensor:
        """As `encode`; tiles are ignored, because chunks of four frames already bound the memory, exactly."""
        return self.encode(pixel_samples)

    def decode_tiled(self, samples: Tensor, **_tiles: Any) -> Tensor:
        """As `decode`; tiles are ignored, because decoding frame by frame already bounds the memory, exactly."""
        return self.decode(samples)

    def _cropped(self, clips: Tensor) -> Tensor:
        frames, height, width = clips.shape[1:4]
        stride = self.spacial_compression_encode()
        kept = frames - (frames - 1) % TEMPORAL_STRIDE
        top, left = height % stride // 2, width % stride // 2
        cropped = clips[:, :kept, top : top + height // stride * stride, left : left + width // stride * stride]
        if cropped.shape != clips.shape:
            logger.warning(
                "The VAE takes 1 + 4k frames and sides that are multiples of %d: %d frames of %d x %d are cut to %d of "
                "%d x %d.", stride, frames, width, height, kept, cropped.shape[3], cropped.shape[2],
            )  # fmt: skip
        return cropped


@record(eq=False, slots=False)
class WanTextEncoder(Unchangeable, KeptUnderPressure):
    """A text encoder with its tokenizer, on the socket CLIP."""

    placed: PlacedModel
    embed: Callable[[PromptTokens, MemorySettings], Tensor]
    memory: MemorySettings = AUTOMATIC

    what = "text encoder"
    native_loader = "Load CLIP (type wan)"

    @property
    def cond_stage_model(self) -> nn.Module:
        """What native LoRA loaders look for layers in: none, since no LoRA of Wan changes its text encoder."""
        return nn.Module()

    def clone(self, **_how: bool) -> WanTextEncoder:
        """What a native node is given to change."""
        return ClonedTextEncoder(self.placed, self.embed, self.memory)

    def add_patches(self, patches: Mapping[Any, Any], *_strengths: float) -> list[str]:
        """The names of the layers that a native LoRA loader has changed: none.

        Raises:
            InvalidInputError: it wants to change some.
        """
        names = [key if isinstance(key, str) else key[0] for key in patches]
        if not all(name.startswith("diffusion_model.") for name in names):
            raise self.refusal("add_patches")
        logger.info(
            "The LoRA goes onto the video model alone (%d layers): its strength for the text encoder has no effect, as "
            "no LoRA changes that of Wan.", len(names),
        )  # fmt: skip
        return []

    def clip_layer(self, _layer: int) -> None:
        """Refuses to leave out the last layers."""
        raise needs_all_layers()

    def tokenize(self, text: str, return_word_ids: bool = False, **_options: Any) -> dict[str, list]:
        """{name: [[(id, weight), ...]]}, as ComfyUI's tokenizers give."""
        tokenizer = self.placed.tokenizer
        assert tokenizer is not None, "it comes with the text encoder"
        tokens = tokenize_weighted_prompt(tokenizer, text)
        pairs = list(zip(tokens.ids, tokens.weights))
        return Tokens({TOKENS_KEY: [[(*pair, 0) for pair in pairs] if return_word_ids else pairs]})

    def encode_from_tokens(self, tokens: dict[str, list], return_pooled: Any = False, return_dict: bool = False) -> Any:
        """The embedding [1, 512, D], float32, CPU; UMT5 has no pooled output."""
        pairs = tokens[TOKENS_KEY][0]
        prompt = PromptTokens(tuple(pair[0] for pair in pairs), tuple(pair[1] for pair in pairs))
        embedding = self.embed(prompt, self.memory)
        if return_dict:
            return {"cond": embedding, "pooled_output": None}
        return (embedding, None) if return_pooled else embedding

    def encode_from_tokens_scheduled(
        self, tokens: dict[str, list], unprojected: bool = False, add_dict: dict | None = None, show_pbar: bool = True
    ) -> list:
        """A native CONDITIONING: [[embedding, values]]."""
        values = {"pooled_output": None, TEXT_TAG: MadeBy(self.spec), **(add_dict or {})}
        return [[self.encode_from_tokens(tokens), values]]

    def encode(self, text: str) -> Tensor:
        return self.encode_from_tokens(self.tokenize(text))


class ClonedTextEncoder(WanTextEncoder):
    """The text encoder for a native node that changes its copy of one: it stays as it is, and says so."""

    def __setattr__(self, name: str, value: object) -> None:
        raise self.refusal(name)


@record(eq=False, slots=False)
class WanClipVision(Unchangeable, KeptUnderPressure):
    """A picture encoder, on the socket CLIP_VISION."""

    placed: PlacedModel

    what = "CLIP vision encoder"
    native_loader = "Load CLIP Vision"

    def encode_image(self, image: Tensor, crop: bool = True) -> ClipVisionOutput:
        """Features of pictures [B, H, W, 3] in 0..1, float32, CPU; see `text_encoder.clip_vision.preprocess`."""
        return replace(embed_picture(self.placed, image, crop=crop), made_by=MadeBy(self.spec))


def video_model(recipe: ModelRecipe, runtime: Runtime) -> WanModel:
    """The transformer of a recipe, for the socket; the same object while it is in use and its files are unchanged."""

    def load() -> WanModel:
        loaded = load_model(recipe, runtime)
        return WanModel(loaded.placed, loaded.shapes, loaded.recipe)

    return runtime.models.once((WanModel, recipe, recipe.key()), load)


def video_autoencoder(recipe: ModelRecipe, runtime: Runtime) -> WanVAE:
    """The VAE of a recipe, for the socket; see `video_model`."""
    return runtime.models.once((WanVAE, recipe.key()), lambda: WanVAE(place(recipe, runtime)))


def text_encoder(recipe: ModelRecipe, runtime: Runtime) -> WanTextEncoder:
    """The text encoder of a recipe, for the socket; see `video_model`."""

    def load() -> WanTextEncoder:
        placed = place(recipe, runtime)
        # One embedding of the Wan encoder is 8 MB; the negative prompt of a session rarely changes.
        return WanTextEncoder(placed, lru_cache(maxsize=8)(partial(embed_prompt, placed)))

    return runtime.models.once((WanTextEncoder, recipe.key()), load)


def clip_vision(recipe: ModelRecipe, runtime: Runtime) -> WanClipVision:
    """The picture encoder of a recipe, for the socket; see `video_model`."""
    return runtime.models.once((WanClipVision, recipe.key()), lambda: WanClipVision(place(recipe, runtime)))
