"""A graph of a film, on the tiny random models."""

from __future__ import annotations

from ..headless.conftest import node


def film() -> dict:
    """Two clips, of which a text-to-video model makes the first."""
    model, first = (
        node("WanDirectorLoadModel", model_name=name, precision="auto", attention="auto")
        for name in ("i2v.safetensors", "t2v.safetensors")
    )
    return {
        "model": model,
        "first": first,
        "vae": node("WanDirectorLoadVAE", vae_name="vae.safetensors", precision="auto"),
        "encoder": node(
            "WanDirectorLoadTextEncoder", text_encoder_name="text.safetensors", precision="auto", device="auto"
        ),
        "save": node(
            "WanDirectorLongVideo", model=["model", 0], first_model=["first", 0], text_encoder=["encoder", 0],
            vae=["vae", 0], prompts="a red ball " * 60, negative="a red ball " * 60, width=64, height=96,
            clip_frames=9, clips=2, overlap=5, seed=1, steps=2, cfg=4.0, shift=5.0, solver="euler",
            schedule="simple", fps=8.0, filename_prefix="a", format="gif", quality=80,
        ),
    }  # fmt: skip
