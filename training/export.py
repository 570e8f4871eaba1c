"""Stage 5: writes the trained weights as the files in `models/`, float16 with the official names."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor
from wan_director.common.families import TINY
from wan_director.common.log import logger
from wan_director.dit.config import DiTConfig
from wan_director.training import clip_stage

PREFIX = "wan_director_tiny_demo"
FILES = {
    "vae": f"vae/{PREFIX}_vae.safetensors",
    "text_encoder": f"text_encoders/{PREFIX}_text_encoder.safetensors",
    "clip_vision": f"clip_vision/{PREFIX}_clip_vision.safetensors",
    "t2v": f"diffusion_models/{PREFIX}_t2v.safetensors",
    "i2v": f"diffusion_models/{PREFIX}_i2v.safetensors",
}
METADATA = {"format": "pt", "wan_director.family": TINY.name}


def export(runs: Path, models: Path, config: DiTConfig) -> None:
    """Writes all five files of the demo model from the checkpoints in `runs`."""
    average = torch.load(runs / "dit_checkpoint.pt", weights_only=True)["average"]
    transformer = _part(average, "dit.")
    spiece = np.frombuffer((runs / "spiece.model").read_bytes(), dtype=np.uint8).copy()
    _save(torch.load(runs / "vae.pt", weights_only=True), models / FILES["vae"])
    _save({**_part(average, "text."), "spiece_model": torch.from_numpy(spiece)}, models / FILES["text_encoder"])
    clip = torch.load(runs / "clip.pt", weights_only=True)
    clip = {f"visual.{name}": weight for name, weight in clip.items()}
    _save(clip, models / FILES["clip_vision"], heads=clip_stage.CONFIG.heads)
    write_transformers(transformer, models, config)
    logger.info("models: %.2f MB in all", sum(path.stat().st_size for path in models.rglob("*.safetensors")) / 1e6)


def write_transformers(weights: dict[str, Tensor], models: Path, config: DiTConfig) -> None:
    """Writes the 36-channel transformer and the 16-channel one inside it."""
    _save(weights, models / FILES["i2v"], heads=config.heads)
    _save(text_to_video_part(weights, config.out_channels), models / FILES["t2v"], heads=config.heads)


def text_to_video_part(weights: dict[str, Tensor], channels: int) -> dict[str, Tensor]:
    """The 16-channel model inside the 36-channel one: exactly its result when no image is given.

    Without an image the other input channels are zero and the CLIP branch is skipped, so both can be cut off.
    """
    image_parts = ("img_emb.", ".k_img.", ".v_img.", ".norm_k_img.")
    kept = {name: weight for name, weight in weights.items() if not any(part in name for part in image_parts)}
    kept["patch_embedding.weight"] = kept["patch_embedding.weight"][:, :channels].contiguous()
    return kept


def _part(weights: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name[len(prefix) :]: weight for name, weight in weights.items() if name.startswith(prefix)}


def _save(weights: dict[str, Tensor], path: Path, heads: int | None = None) -> None:
    """Writes one file; `heads` goes into its header where no shape tells the number of attention heads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    stored = {
        name: (weight.half() if weight.is_floating_point() else weight).detach().contiguous().clone()
        for name, weight in weights.items()
    }
    save_file(stored, path, metadata=METADATA if heads is None else {**METADATA, "wan_director.heads": str(heads)})
