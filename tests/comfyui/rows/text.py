"""CLIP, CLIP_VISION and CONDITIONING: encoders of one side in the nodes of the other."""

from __future__ import annotations

from functools import partial
from typing import Any

import torch
from measure import Row, fact, same, worst
from runs import PARITY, clip_of, natively, ours, sides

UMT5, CLIP = 3e-6, 3e-6
"""Limits of docs/exactness.md."""
UNROUNDED = 1e-2
"""ComfyUI rounds the resized picture to 256 levels; the official code, which ours follows without a crop, does not."""
PROMPTS = ("a cat dances", "a (cat:1.3) dances (slowly:0.6)", "")


def encoded(w: Any, clip: Any, text: str) -> torch.Tensor:
    return w.one("CLIPTextEncode", clip=clip, text=text)[0][0]


def padded(tensor: torch.Tensor, tokens: int = 512) -> torch.Tensor:
    """Ours are filled up with zeros to the length of the model's text; ComfyUI's are as long as the prompt."""
    tensor = tensor[:, :tokens]
    return torch.nn.functional.pad(tensor, (0, 0, 0, tokens - tensor.shape[1]))


def text(w: Any, prompt: str) -> dict:
    return same(*(padded(encoded(w, w.clip(side), prompt)) for side in ("ours", "native")))


def long_text(w: Any) -> dict:
    """The official code cuts a prompt where the model's text ends; ComfyUI goes on. Ours cuts, and says so."""
    w.log.truncate(0)
    embedding = encoded(w, w.clip("ours"), "red and blue light " * 200)
    told = "512" in w.log.getvalue()
    return fact(embedding.shape[1] == 512 and told, f"{embedding.shape[1]} tokens, told: {told}")


def own_text_encode(w: Any) -> dict:
    """Wan Text Encode over a native CLIP."""
    positive, negative = w.call(
        "WanDirectorTextEncode", text_encoder=w.clip("native"), positive=PROMPTS[0], negative="blurry"
    )
    expected = [encoded(w, w.clip("native"), prompt) for prompt in (PROMPTS[0], "blurry")]
    return worst(same(positive[0][0], expected[0]), same(negative[0][0], expected[1]))


def native_text_samples(w: Any) -> dict:
    """The prompts of each side in our sampler."""
    model = w.model()
    return same(*(ours(w, model, **sides(w, side))["samples"] for side in ("ours", "native")))


def own_text_in_ksampler(w: Any) -> dict:
    return same(*(natively(w, w.unet(), **sides(w, side))["samples"] for side in ("ours", "native")))


def features(w: Any, crop: str, side: str) -> Any:
    """Of a picture of the encoder's size: another one is resized as the official code does, and not as ComfyUI does."""
    return w.one("CLIPVisionEncode", clip_vision=w.clip_vision(side), image=clip_of(1, 28), crop=crop)


def vision(w: Any, crop: str) -> dict:
    one, other = (features(w, crop, side) for side in ("ours", "native"))
    names = ("penultimate_hidden_states", "last_hidden_state", "image_embeds")
    return worst(*(same(getattr(one, name), getattr(other, name)) for name in names))


def own_vision_encode(w: Any) -> dict:
    """Wan CLIP Vision Encode over a native CLIP_VISION."""
    one, other = (
        w.one("WanDirectorClipVisionEncode", clip_vision=w.clip_vision(side), image=clip_of(1, 28))
        for side in ("native", "ours")
    )
    return same(one.penultimate_hidden_states, other.penultimate_hidden_states)


def lora_loader(w: Any) -> dict:
    """Load LoRA (Model and CLIP) with our text encoder: the LoRA goes onto the MODEL, the encoder stays as it is."""
    clip = w.clip("ours")
    both = w.call(
        "LoraLoader", model=w.unet(), clip=clip, lora_name="lora.safetensors", strength_model=0.7, strength_clip=1.0
    )
    alone = w.one("LoraLoaderModelOnly", model=w.unet(), lora_name="lora.safetensors", strength_model=0.7)
    unchanged = torch.equal(encoded(w, both[1], PROMPTS[0]), encoded(w, clip, PROMPTS[0]))
    return worst(
        fact(unchanged, "the encoder has changed"),
        same(natively(w, both[0])["samples"], natively(w, alone)["samples"]),
    )


def clip_node(w: Any, node: str, **inputs: Any) -> dict:
    """A node that changes a text encoder."""
    made = w.one(node, clip=w.clip("ours"), **inputs)
    return same(encoded(w, made, PROMPTS[0]), encoded(w, w.clip("ours"), PROMPTS[0]))


def merged_clips(w: Any) -> dict:
    made = w.one("CLIPMergeSimple", clip1=w.clip("ours"), clip2=w.clip("native"), ratio=0.5)
    return same(encoded(w, made, PROMPTS[0]), encoded(w, w.clip("ours"), PROMPTS[0]))


def hooked_clip(w: Any) -> dict:
    hooks = w.one("CreateHookLora", lora_name="lora.safetensors", strength_model=1.0, strength_clip=1.0)
    return clip_node(w, "SetClipHooks", apply_to_conds=True, schedule_clip=False, hooks=hooks)


def foreign_tokens(w: Any) -> dict:
    w.one("CLIPTextEncodeFlux", clip=w.clip("ours"), clip_l="a cat", t5xxl="a cat", guidance=3.5)
    raise AssertionError("it was taken")


def steered(w: Any, side: str, change: Any) -> torch.Tensor:
    positive = change(w, sides(w)["positive"], w.one("CLIPTextEncode", clip=w.clip("ours"), text="red light"))
    if side == "ours":
        return ours(w, w.model(), positive=positive)["samples"]
    return natively(w, w.unet(), positive=positive)["samples"]


def by_both(w: Any, change: Any) -> dict:
    """One changed CONDITIONING in both samplers."""
    return same(steered(w, "ours", change), steered(w, "native", change))


def refused(w: Any, change: Any) -> dict:
    steered(w, "ours", change)
    raise AssertionError("it was taken")


def half() -> torch.Tensor:
    mask = torch.zeros(1, 64, 64)
    mask[:, :, 32:] = 1.0
    return mask


def ranged(w: Any, one: list, other: list) -> list:
    early = w.one("ConditioningSetTimestepRange", conditioning=one, start=0.0, end=0.5)
    late = w.one("ConditioningSetTimestepRange", conditioning=other, start=0.5, end=1.0)
    return w.one("ConditioningCombine", conditioning_1=early, conditioning_2=late)


def masked(w: Any, one: list, other: list) -> list:
    left = w.one("ConditioningSetMask", conditioning=one, mask=half(), strength=0.7, set_cond_area="default")
    return w.one("ConditioningCombine", conditioning_1=left, conditioning_2=other)


def with_properties(w: Any, one: list, other: list) -> list:
    return w.one(
        "ConditioningSetPropertiesAndCombine", cond=one, cond_NEW=other, strength=0.8, set_cond_area="default",
        mask=half(),
    )  # fmt: skip


_CHANGES = {
    "ConditioningCombine": lambda w, a, b: w.one("ConditioningCombine", conditioning_1=a, conditioning_2=b),
    "ConditioningConcat": lambda w, a, b: w.one("ConditioningConcat", conditioning_to=a, conditioning_from=b),
    "ConditioningAverage": lambda w, a, b: w.one(
        "ConditioningAverage", conditioning_to=a, conditioning_from=b, conditioning_to_strength=0.4
    ),
    "ConditioningZeroOut": lambda w, a, b: w.one("ConditioningZeroOut", conditioning=a),
    "ConditioningSetTimestepRange": ranged,
    "ConditioningSetMask": masked,
    "ConditioningSetAreaStrength": lambda w, a, b: w.one(
        "ConditioningCombine",
        conditioning_1=w.one("ConditioningSetAreaStrength", conditioning=a, strength=0.5),
        conditioning_2=b,
    ),
    "ConditioningSetPropertiesAndCombine": with_properties,
}
_REFUSED = {
    "ConditioningSetArea": (
        lambda w, a, b: w.one("ConditioningSetArea", conditioning=a, width=32, height=32, x=0, y=0, strength=1.0),
        ("area", "Set Area"),
    ),
    "ConditioningSetAreaPercentageVideo": (
        lambda w, a, b: w.one(
            "ConditioningSetAreaPercentageVideo", conditioning=a, width=0.5, height=1.0, temporal=1.0, x=0.0, y=0.0,
            z=0.0, strength=1.0,
        ),
        ("area",),
    ),
    "ConditioningSetMask to its bounds": (
        lambda w, a, b: w.one(
            "ConditioningSetMask", conditioning=a, mask=half(), strength=1.0, set_cond_area="mask bounds"
        ),
        ("bounds", "default"),
    ),
    "unCLIPConditioning": (
        lambda w, a, b: w.one(
            "unCLIPConditioning", conditioning=a, clip_vision_output=features(w, "none", "native"), strength=1.0,
            noise_augmentation=0.0,
        ),
        ("unclip_conditioning",),
    ),
    "ReferenceLatent": (
        lambda w, a, b: w.one("ReferenceLatent", conditioning=a, latent={"samples": torch.zeros(1, 16, 1, 8, 8)}),
        ("reference_latents",),
    ),
    "FluxGuidance": (
        lambda w, a, b: w.one("FluxGuidance", conditioning=a, guidance=3.5),
        ("guidance",),
    ),
    "ControlNetApplyAdvanced": (
        lambda w, a, b: [[a[0][0], {**a[0][1], "control": object()}]],
        ("control",),
    ),
    "PairConditioningSetProperties with hooks": (
        lambda w, a, b: [[a[0][0], {**a[0][1], "hooks": object()}]],
        ("hooks",),
    ),
}  # fmt: skip

LINES = "0: a cat sits\n4: a cat jumps"


def travel(w: Any, lines: str = LINES) -> Any:
    """Wan Prompt Travel over a native CLIP."""
    return w.one(
        "WanDirectorPromptTravel", text_encoder=w.clip("native"), prompts=lines, global_prompt="", transition=0,
        method="attention",
    )  # fmt: skip


def travel_of_one(w: Any) -> dict:
    positive = travel(w, f"0: {PROMPTS[0]}")
    expected = w.one("CLIPTextEncode", clip=w.clip("native"), text=PROMPTS[0])
    return same(*(natively(w, w.unet(), positive=each)["samples"] for each in (positive, expected)))


def travelled(w: Any, change: Any = None) -> dict:
    """Native samplers do not know whose turn it is, and say so, whatever a node behind changes."""
    positive = travel(w) if change is None else change(w, travel(w))
    natively(w, w.unet(), positive=positive)
    raise AssertionError("it was taken")


_BEHIND_TRAVEL = {
    "": None,
    ", ConditioningSetMask": lambda w, a: w.one(
        "ConditioningSetMask", conditioning=a, mask=half(), strength=1.0, set_cond_area="default"
    ),
    ", ConditioningSetTimestepRange": lambda w, a: w.one(
        "ConditioningSetTimestepRange", conditioning=a, start=0.0, end=0.5
    ),
    ", ConditioningCombine": lambda w, a: w.one(
        "ConditioningCombine", conditioning_1=sides(w)["positive"], conditioning_2=a
    ),
}

ROWS = {
    **{
        f"CLIPTextEncode, our CLIP and theirs: {name}": Row(partial(text, prompt=prompt), UMT5)
        for name, prompt in zip(("plain", "weights", "empty"), PROMPTS)
    },
    "CLIPTextEncode of more than 512 tokens on our CLIP": Row(long_text),
    "Wan Text Encode on a native CLIP": Row(own_text_encode),
    "native CLIP into Wan Sampler": Row(native_text_samples, PARITY),
    "our CLIP into KSampler": Row(own_text_in_ksampler, PARITY),
    "CLIPVisionEncode without crop, our CLIP_VISION and theirs": Row(partial(vision, crop="none"), UNROUNDED),
    "CLIPVisionEncode with crop, our CLIP_VISION and theirs": Row(partial(vision, crop="center"), CLIP),
    "Wan CLIP Vision Encode on a native CLIP_VISION": Row(own_vision_encode, UNROUNDED),
    "LoraLoader with our CLIP": Row(lora_loader),
    "CLIPSetLastLayer on our CLIP": Row(
        partial(clip_node, node="CLIPSetLastLayer", stop_at_clip_layer=-2), words=("CLIP Set Last Layer", "Load CLIP")
    ),
    "CLIPAttentionMultiply on our CLIP": Row(
        partial(clip_node, node="CLIPAttentionMultiply", q=1.0, k=1.0, v=1.0, out=1.0), words=("Load CLIP",)
    ),
    "CLIPMergeSimple with our CLIP": Row(merged_clips, words=("add_patches", "Load CLIP")),
    "SetClipHooks on our CLIP": Row(hooked_clip, words=("apply_hooks_to_conds", "Load CLIP"), needs=("SetClipHooks",)),
    "Wan Prompt Travel of one prompt into KSampler": Row(travel_of_one),
    **{
        f"Wan Prompt Travel{name} into KSampler": Row(
            partial(travelled, change=change), words=("prompt travel", "only Wan Sampler follows")
        )
        for name, change in _BEHIND_TRAVEL.items()
    },
    "CLIPTextEncodeFlux on our CLIP": Row(foreign_tokens, words=("umt5xxl", "CLIP Text Encode")),
    **{f"{name} into both samplers": Row(partial(by_both, change=change), PARITY) for name, change in _CHANGES.items()},
    **{
        f"{name} into Wan Sampler": Row(
            partial(refused, change=change), words=words, needs=() if " " in name else (name,)
        )
        for name, (change, words) in _REFUSED.items()
    },
}
