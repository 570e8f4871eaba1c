"""The model objects that travel between nodes.

`WanVAE`, `WanTextEncoder` and `WanClipVision` answer the calls that ComfyUI's own nodes make on its VAE, CLIP and
CLIP_VISION objects; names and argument orders are ComfyUI's.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from torch import Tensor

from ..common.errors import InvalidInputError
from ..common.families import Family
from ..common.log import logger
from ..common.shapes import TEMPORAL_STRIDE, VideoShape, latent_frames, video_frames
from ..dit.adapters import AppliedAdapter, ParameterShapes
from ..memory.plan import Task, smallest_bytes
from ..model_loading.spec import ModelSpec
from ..text_encoder.clip_vision import ClipVisionOutput, encode_image
from ..text_encoder.encode import PromptTokens, tokenize_weighted_prompt
from ..text_encoder.tokenizer import Tokenizer
from ..vae3d.cudnn import warn_of_slow_conv3d
from ..vae3d.vae import STRIP_CHOICES, TILES, CausalVAE
from .host import Residence, host
from .memory_settings import AUTOMATIC, MemorySettings, check_for_cpu
from .memory_tasks import bytes_of, decoding_task, encoding_task, smaller_videos
from .ram_pressure import KeptUnderPressure

TOKENS_KEY = "umt5xxl"
"""Under which ComfyUI keeps the tokens of this text encoder."""


VAE_TAG = "wan_director_vae"
TEXT_TAG = "wan_director_text"


@dataclass(frozen=True, slots=True)
class MadeBy:
    """Which file made a latent or an embedding; it travels inside native dictionaries under the two tags above."""

    spec: ModelSpec

    def __deepcopy__(self, _memo: dict) -> MadeBy:
        return self


class FromFile(KeptUnderPressure):
    """A model object whose weights are read from a file."""

    spec: ModelSpec

    @property
    def file(self) -> str:
        """The file's name, for messages."""
        return self.spec.path.name


@dataclass(frozen=True, eq=False)
class WanModel(FromFile):
    """A video transformer, on the socket WAN_DIRECTOR_MODEL, with the LoRAs of its next run.

    `shapes` are those of its parameters, by which LoRA files are matched. `low_noise` takes over from it in a run; a
    model that has none makes all steps.
    """

    spec: ModelSpec
    dtype: torch.dtype
    residence: Residence
    shapes: ParameterShapes
    loras: tuple[AppliedAdapter, ...] = ()
    low_noise: LowNoiseExpert | None = None

    def residences(self) -> tuple[Residence, ...]:
        return (self.residence,) if self.low_noise is None else (self.residence, self.low_noise.model.residence)


class LowNoiseExpert(NamedTuple):
    """The model of the last steps; `cfg`: its own, if any; `high_steps`: how many the other makes, 0 as trained."""

    model: WanModel
    cfg: float | None
    high_steps: int


@dataclass(frozen=True, eq=False)
class WanVAE(FromFile):
    """A video autoencoder, on the socket VAE. Latents are raw; pictures [B, F, H, W, 3] or [F, H, W, 3] in 0..1."""

    spec: ModelSpec
    dtype: torch.dtype
    residence: Residence
    memory: MemorySettings = AUTOMATIC

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
        return self.spec.config.spatial_stride

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
        return torch.cat([self._encode_clip(clip) for clip in self._cropped(clips[..., :3]).split(1)])

    def decode(self, samples_in: Tensor, vae_options: dict | None = None) -> Tensor:
        """Raw latent [B, C, T, h, w] -> pictures [B, F, H, W, 3] in 0..1, float32, CPU."""
        self._check_latent(samples_in)
        batch, _, count, height, width = samples_in.shape
        stride = self.spacial_compression_decode()
        pictures = torch.empty(batch * video_frames(count), height * stride, width * stride, 3)
        for number, frame in enumerate(self.decode_frames(samples_in)):
            pictures[number] = frame
        return pictures.unflatten(0, (batch, -1))

    def decode_frames(self, samples: Tensor) -> Iterator[Tensor]:
        """As `decode`, giving frame by frame [H, W, 3] as they are made; the videos of a batch follow one another."""
        self._check_latent(samples)
        for sample in samples.split(1):
            with contextlib.closing(self._decode_stream(sample)) as pieces:
                for piece in pieces:
                    yield from piece[0]

    def _decode_stream(self, samples: Tensor) -> Iterator[Tensor]:
        """Pictures [1, 1 or 4, H, W, 3] of each latent frame, moved to the CPU as they are made."""
        stride = self.spacial_compression_decode()
        _, _, count, height, width = samples.shape
        video = VideoShape(video_frames(count), height * stride, width * stride)
        progress = host().progress(count, "decoding")
        with self._at_work(decoding_task, video) as (vae, strips):
            tile = None if strips else TILES[0]
            stream = vae.decode_stream(samples, strips or 1, tile=tile, check=host().check_interrupt)
            for number, piece in enumerate(stream, start=1):
                yield ((piece.float() + 1) / 2).clamp(0, 1).movedim(1, -1).cpu()
                progress.update(number)

    def _encode_clip(self, clip: Tensor) -> Tensor:
        """[1, F, H, W, 3] -> [1, C, T, h, w]."""
        video = VideoShape(*clip.shape[1:4])
        progress = host().progress(latent_frames(video.frames), "encoding")
        latent = []
        with self._at_work(encoding_task, video) as (vae, strips):
            stream = vae.encode_stream(
                clip.movedim(-1, 1),
                strips or STRIP_CHOICES[-1],
                prepare=lambda frames: frames * 2 - 1,
                check=host().check_interrupt,
            )
            for frame in stream:
                latent.append(frame.float().cpu())
                progress.update(len(latent))
        return torch.cat(latent, dim=2)

    @contextlib.contextmanager
    def _at_work(self, make_task: Callable[..., Task], video: VideoShape) -> Iterator[tuple[CausalVAE, int]]:
        """The network where it is to compute, and the fewest strips that fit there; 0 when not even the thinnest do."""
        residence, memory = self.residence, self.memory
        if memory.vae == "cpu":
            check_for_cpu(self.dtype, self.file, "Load Wan VAE")
            residence.unload()
            yield residence.module, memory.strips or 1
            return
        if residence.device.type == "cuda":
            warn_of_slow_conv3d()
        weights = bytes_of(residence.module, self.dtype)

        def task(video: VideoShape) -> Task:
            return make_task(weights, self.spec.config, video)

        def what_fits(limit: int) -> Iterator[str]:
            def fits(video: VideoShape) -> bool:
                return smallest_bytes(task(video)) <= limit

            return smaller_videos(video._replace(frames=1), self.spec.config.spatial_stride, fits)

        choice = memory.choose(task(video), residence.device, what_fits)
        with residence.loaded(choice.way.working_bytes) as vae:
            limit = memory.limit(residence.device)
            yield vae, memory.strips or (choice.way.number if limit is None or choice.device_bytes <= limit else 0)

    def _check_latent(self, samples: Tensor) -> None:
        if samples.ndim != 5 or samples.shape[1] != self.latent_channels:
            raise InvalidInputError(
                f"{self.file} decodes video latents [batch, {self.latent_channels}, frames, height, width], got "
                f"{list(samples.shape)}. Use a latent made for {self.family.title}."
            )

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


@dataclass(frozen=True, eq=False)
class WanTextEncoder(FromFile):
    """A text encoder with its tokenizer, on the socket CLIP."""

    spec: ModelSpec
    tokenizer: Tokenizer
    residence: Residence
    embed: Callable[[PromptTokens, MemorySettings], Tensor]
    memory: MemorySettings = AUTOMATIC

    def tokenize(self, text: str, return_word_ids: bool = False, **_options: Any) -> dict[str, list]:
        """{name: [[(id, weight), ...]]}, as ComfyUI's tokenizers give."""
        tokens = tokenize_weighted_prompt(self.tokenizer, text)
        pairs = list(zip(tokens.ids, tokens.weights))
        return {TOKENS_KEY: [[(*pair, 0) for pair in pairs] if return_word_ids else pairs]}

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


@dataclass(frozen=True, eq=False)
class WanClipVision(FromFile):
    """A picture encoder, on the socket CLIP_VISION."""

    spec: ModelSpec
    residence: Residence

    def encode_image(self, image: Tensor, crop: bool = True) -> ClipVisionOutput:
        """Features of pictures [B, H, W, 3] in 0..1, float32, CPU; see `text_encoder.clip_vision.preprocess`."""
        with self.residence.loaded() as encoder:
            features = encode_image(encoder, image, crop=crop)
        parts = (features.penultimate_hidden_states, features.last_hidden_state, features.image_embeds)
        return ClipVisionOutput(*(part.cpu() for part in parts), made_by=MadeBy(self.spec))
