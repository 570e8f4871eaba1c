"""The last resort: what took long to make is kept somewhere when it could not be saved where it was wanted."""

from __future__ import annotations

import contextlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...common.errors import OutputError
from ...media.faults import writing_to
from ...media.place import SavePlace
from ...media.video_writing import PNG_FRAMES, save_video
from ...media.whole import publish, unfinished_file
from ..hosts.host import host

_NAME = "WanDirector"


def keep_frames(frames: Tensor, metadata: Mapping[str, Any]) -> str:
    """Keeps frames [F, H, W, 3] in 0..1 as numbered pictures, and says where and how to go on."""
    how = "numbered pictures, which any video editor and ffmpeg make a video of."
    return _kept(lambda place: _save_pictures(frames, place, metadata), "frames", how)


def keep_pictures(pictures: Tensor, metadata: Mapping[str, Any]) -> str:
    """Keeps pictures [B, H, W, C] in 0..1, C = 1, 3 or 4, as numbered PNG files, and says where."""
    pictures = pictures.squeeze(-1) if pictures.shape[-1] == 1 else pictures
    return _kept(lambda place: _save_pictures(pictures, place, metadata), "pictures", "numbered PNG files.")


def _save_pictures(pictures: Tensor, place: SavePlace, metadata: Mapping[str, Any]) -> Path:
    files = save_video(
        pictures,
        place,
        format=PNG_FRAMES,
        fps=1,
        quality=100,
        metadata=metadata,
        check=host().runtime.check_interrupt,
    )
    return files[0].parent


def keep_latent(samples: Tensor, metadata: Mapping[str, Any]) -> str:
    """Keeps a latent [B, C, T, h, w] as ComfyUI's Save Latent writes it, and says where and how to go on.

    Source: ComfyUI, nodes.py, SaveLatent.save
    """
    from safetensors.torch import save

    texts = {name: json.dumps(value) for name, value in metadata.items() if value is not None}

    def write(place: SavePlace) -> Path:
        tensors = {"latent_tensor": samples.cpu().contiguous(), "latent_format_version_0": torch.tensor([])}
        with writing_to(place.folder):
            place.folder.mkdir(parents=True, exist_ok=True)
            with unfinished_file(place.folder, "latent") as unfinished:
                unfinished.write_bytes(save(tensors, texts))
                return publish(unfinished, place, "latent")

    return _kept(
        write,
        "latent",
        "when the cause is mended, put that file into the input folder, load it with Load Latent and connect it to Wan "
        "Decode To Video.",
    )


def _kept(write: Callable[[SavePlace], Path], what: str, how: str) -> str:
    """Tries one place after the other; the sentence about the first that worked."""
    refused = []
    for folder in _places():
        try:
            kept = write(SavePlace(folder, _NAME, 1, ""))
        except OutputError:
            refused.append(str(folder))
            with contextlib.suppress(OSError):
                folder.rmdir()  # if it is empty
        else:
            return f"The {what} {'are' if what.endswith('s') else 'is'} kept in {kept}: {how}"
    return f"The {what} could not be kept anywhere else either ({', '.join(refused)})."


def _places() -> Iterator[Path]:
    """The output folder may work where a subfolder or the encoder did not; else other disks."""
    yield host().output_folder() / "kept"
    with contextlib.suppress(OSError):
        # Of this user alone: others may write to the folder for temporary files too.
        yield Path(tempfile.mkdtemp(prefix="wan_director-"))
    with contextlib.suppress(RuntimeError):  # a user without a home
        yield Path.home() / "wan_director"
