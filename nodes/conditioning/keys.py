"""The values that native nodes put into a CONDITIONING: which of them we read, and what the others are.

A value of None is what native nodes write to take one away. Sources: ComfyUI 0.3.64 and 0.33.0, nodes.py and
comfy_extras, every node that writes into a CONDITIONING.
"""

from __future__ import annotations

from typing import Any, NamedTuple, NoReturn

from ...common.errors import InvalidInputError

READ = frozenset({
    "concat_latent_image", "concat_mask", "clip_vision_output", "vace_frames", "vace_mask", "vace_strength",
    "start_percent", "end_percent", "strength", "mask", "mask_strength", "set_area_to_bounds", "context_latents",
})  # fmt: skip
IMAGE = "concat_latent_image"
"""The raw latent of the frames that are given."""
OF_THE_EMBEDDING = frozenset({"pooled_output", "attention_mask"})
"""What text encoders write beside the embedding by themselves; the Wan transformer has no place for it."""
OWN = "wan_director_"
UNWRITTEN = f"{OWN}unwritten"
"""That the text is the list of what to avoid which stands in every graph."""


class OnlyOurs:
    """Stands where native samplers look for a ControlNet, so that they do not pass over what only ours follows.

    They ask it for something before they sample. A mask or an area behind the node leaves it there, and a ControlNet
    asks it as the one before. The host itself looks in every output of a node for models, and finds none.

    Args:
        sentence: that they then give.
    """

    patcher = None

    def __init__(self, sentence: str) -> None:
        self._sentence = sentence

    def get_models(self) -> list[Any]:
        """None."""
        return []

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("__"):  # what Python asks of any object
            raise AttributeError(name)
        raise InvalidInputError(self._sentence)


ONLY_OURS = OnlyOurs(
    "The conditioning is a prompt travel, and only Wan Sampler follows it. Use Wan Sampler (a native MODEL comes there "
    "by Wan From Native), or a conditioning without travel."
)


class _Refused(NamedTuple):
    """What a value is, the nodes it usually comes from, and what to do instead."""

    what: str
    source: str
    advice: str


_REMOVE = "Remove that node"
_HOOKS = "Use Wan LoRA, which has a strength, a start and an end"
_CONTROL = "Use Wan VACE to follow a control video"
_PICTURES = "Use Wan VACE with a reference_image"
_ANIMATE = "Load a Wan-Animate model, or remove that node"
_ANIMATE_2 = "Load a Wan-Animate-2 model, or remove that node"
_SPEECH = "Load a Wan S2V model, or remove that node"
_DANCER = "Load a Wan-Dancer model, or remove that node"


def _same(keys: str, refused: _Refused) -> dict[str, _Refused]:
    return dict.fromkeys(keys.split(), refused)


REFUSED = {
    "area": _Refused(
        "an area of the picture", "Conditioning (Set Area)", "Use Conditioning (Set Mask), which is honoured"
    ),
    **_same("hooks clip_start_percent clip_end_percent", _Refused("hooks", "Set CLIP Hooks or Cond Set Props", _HOOKS)),
    "default": _Refused(
        "a prompt for what others leave free", "Cond Set Default Combine", "Use Conditioning (Combine) with masks"
    ),
    **_same("control control_apply_to_uncond", _Refused("a ControlNet", "Apply ControlNet", _CONTROL)),
    **_same(
        "cross_attn_controlnet pooled_output_controlnet",
        _Refused("a prompt for a ControlNet", "CLIP Text Encode (Controlnet)", _REMOVE),
    ),
    "gligen": _Refused("text boxes for GLIGEN", "Apply GLIGEN Text Box", _REMOVE),
    "unclip_conditioning": _Refused(
        "CLIP vision features for unCLIP", "unCLIPConditioning", "Connect them to Wan Image To Video"
    ),
    "reference_latents": _Refused(
        "a reference picture",
        "Wan Fun Control, Wan22FunControlToVideo, Wan SCAIL, WanSCAILToVideo, Set Reference Latent, "
        "Wan HuMo, WanHuMoImageToVideo or WanSoundImageToVideo",
        "Load a Fun-Control model of 1.1 or of Wan 2.2 or a SCAIL model, or use Wan VACE with a reference_image",
    ),
    **_same(
        "reference_latents_method reference_latents_text_embeds",
        _Refused(
            "reference pictures",
            "Set Reference Latent or another node for references",
            _PICTURES,
        ),
    ),
    "time_dim_concat": _Refused(
        "pictures of subjects for Phantom",
        "Wan Phantom or WanPhantomSubjectToVideo",
        "Load a Phantom model, or use Wan VACE with a reference_image",
    ),
    "concat_mask_index": _Refused(
        "a start image and a control video for Wan 2.2 Fun Control",
        "Wan22FunControlToVideo or Wan Fun Control",
        f"Load a Fun-Control model. {_CONTROL}",
    ),
    "camera_conditions": _Refused(
        "a camera's path", "WanCameraImageToVideo or Wan Fun Control", "Load a Fun-Camera model, or remove the path"
    ),
    **_same(
        "audio_inject_scale fps clip_vision_output_ref",
        _Refused("music for Wan-Dancer", "Wan Dancer or WanDancerVideo", _DANCER),
    ),
    **_same(
        "reference_motion control_video",
        _Refused("earlier frames or poses for Wan S2V", "Wan Speech To Video or WanSoundImageToVideo", _SPEECH),
    ),
    "audio_embed": _Refused(
        "sound",
        "Wan Speech To Video, WanSoundImageToVideo, Wan HuMo, WanHuMoImageToVideo, Wan Dancer or WanDancerVideo",
        "Load a Wan S2V, a HuMo or a Wan-Dancer model, or remove that node",
    ),
    **_same("face_video_pixels", _Refused("a face", "Wan Animate or WanAnimateToVideo", _ANIMATE)),
    "pose_video_latent": _Refused(
        "poses",
        "Wan Animate, WanAnimateToVideo, Wan Animate 2, WanAnimate2ToVideo, Wan SCAIL or WanSCAILToVideo",
        "Load the kind of model they are for, or remove that node",
    ),
    **_same(
        "clip_vision_output_pose cross_attn_pose pose_strength reference_strength animate2_cache",
        _Refused("poses for Wan-Animate-2", "Wan Animate 2 or WanAnimate2ToVideo", _ANIMATE_2),
    ),
    **_same(
        "ref_mask_28ch driving_mask_28ch ref_mask_flag",
        _Refused("masks of SCAIL-2", "Wan SCAIL or WanSCAILToVideo", "Load a SCAIL-2 model, or remove that node"),
    ),
    "guidance": _Refused(
        "a guidance for Flux", "FluxGuidance", "Set cfg in Wan Sampler, and remove that node"
    ),
    "prompt_type": _Refused("a prompt of a guider", "Dual CFG Guider or Perp-Neg Guider", "Use cfg in Wan Sampler"),
    **_same(
        "frame_rate keyframe_idxs guide_attention_entries ref_audio model_conds",
        _Refused("values for LTX Video", "an LTXV node", _REMOVE),
    ),
    **_same(
        "concat_image noise_augmentation clip_vision_outputs time_dim_replace stable_cascade_prior lq_latent "
        "degrade_sigma minimax_keyframes minimax_refs conditioning_lyrics lyrics_strength conditioning_scale "
        "reference_audio_timbre_latents seconds_start seconds_total width height crop_w crop_h target_width "
        "target_height aesthetic_score conditioning_llama3 text_input_ids embeds",
        _Refused("a value for another kind of model", "a node for that kind", _REMOVE),
    ),
}  # fmt: skip
_UNKNOWN = _Refused("a value that Wan Sampler does not know", "another pack's node", _REMOVE)


def check_keys(values: dict[str, Any], side: str, more: frozenset[str] = frozenset()) -> None:
    """Refuses values that would have no effect.

    Args:
        values: of an entry of a native CONDITIONING.
        side: "positive" or "negative", for the message.
        more: values that the model reads beside the usual ones.

    Raises:
        InvalidInputError: there is one; the message names it and the node it usually comes from.
    """
    for key, value in values.items():
        is_read = key in READ or key in more or key in OF_THE_EMBEDDING or str(key).startswith(OWN)
        if value is None or isinstance(value, OnlyOurs) or is_read:
            continue
        refused = REFUSED.get(key, _UNKNOWN)
        raise InvalidInputError(
            f"The {side} conditioning carries {refused.what} ('{key}', from {refused.source}), and Wan Sampler cannot "
            f"use that. {refused.advice}."
        )
