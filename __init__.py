"""Wan Director: text and images to video with the open Wan models, in ComfyUI and headless."""

if not __package__:  # pytest imports the root of a package a second time, under the bare name `__init__`
    __package__ = "wan_director"

from importlib.util import find_spec
from pathlib import Path

from .common import threads  # noqa: F401  (first: before anything imports torch)

# The id of a node, which is its class's name, and the module in `nodes` that has it. Tools that list nodes read the ids
# here without importing anything; whoever imports the pack gets the classes, see below.
NODE_CLASS_MAPPINGS = {
    "WanDirectorLoadModel": "loaders",
    "WanDirectorLora": "lora",
    "WanDirectorExperts": "experts",
    "WanDirectorLoadVAE": "loaders",
    "WanDirectorLoadTextEncoder": "loaders",
    "WanDirectorLoadClipVision": "loaders",
    "WanDirectorLoadAudioEncoder": "talking.encoder",
    "WanDirectorLoadUni3C": "loaders",
    "WanDirectorLoadInfiniteTalk": "loaders",
    "WanDirectorTextEncode": "text",
    "WanDirectorPromptTravel": "travel.node",
    "WanDirectorEnhancePrompt": "writing.enhance",
    "WanDirectorBatchPrompts": "batches.prompts",
    "WanDirectorUnbatch": "batches.order",
    "WanDirectorClipVisionEncode": "text",
    "WanDirectorAudioEncode": "talking.encoder",
    "WanDirectorEmptyLatent": "image",
    "WanDirectorImageToVideo": "image",
    "WanDirectorKeyframe": "image",
    "WanDirectorSpreadKeyframes": "pictures.spread",
    "WanDirectorFitSize": "pictures.fit_size",
    "WanDirectorExtend": "extending.extend",
    "WanDirectorSVI": "extending.svi",
    "WanDirectorCausalStart": "causal.start",
    "WanDirectorVace": "vace",
    "WanDirectorFunControl": "control.fun_control",
    "WanDirectorCameraPath": "control.camera_path",
    "WanDirectorBernini": "control.bernini",
    "WanDirectorAnimate": "control.animate",
    "WanDirectorPhantom": "control.phantom",
    "WanDirectorScail": "control.scail",
    "WanDirectorColouredMasks": "control.coloured_masks",
    "WanDirectorAnimate2": "control.animate2",
    "WanDirectorSpeechToVideo": "talking.speech",
    "WanDirectorHumo": "talking.humo",
    "WanDirectorInfiniteTalk": "talking.talk",
    "WanDirectorDanceMusic": "dancing.music",
    "WanDirectorDancePart": "dancing.part",
    "WanDirectorDancer": "dancing.dancer",
    "WanDirectorUni3C": "control.uni3c",
    "WanDirectorLoadVideo": "load_video",
    "WanDirectorEncode": "image",
    "WanDirectorMemory": "options.memory",
    "WanDirectorGuidance": "options.guidance",
    "WanDirectorMotion": "options.motion",
    "WanDirectorStepCache": "options.step_cache",
    "WanDirectorPoseCache": "options.pose_cache",
    "WanDirectorWindows": "options.windows",
    "WanDirectorTiles": "options.tiles",
    "WanDirectorCausal": "options.causal",
    "WanDirectorSampler": "sampler",
    "WanDirectorEditClip": "editing.clip",
    "WanDirectorUpscaleVideo": "upscaling.video",
    "WanDirectorSourceVideo": "editing.source",
    "WanDirectorEditPicture": "editing.picture",
    "WanDirectorDecode": "decode",
    "WanDirectorDecodeRGBA": "decode",
    "WanDirectorJoin": "extending.join",
    "WanDirectorMatchColour": "pictures.match_colour",
    "WanDirectorSaveVideo": "video",
    "WanDirectorDecodeToVideo": "video",
    "WanDirectorLongVideo": "films.node",
    "WanDirectorStreamVideo": "causal.stream",
    "WanDirectorDataset": "training.dataset",
    "WanDirectorTrainLora": "training.train",
    "WanDirectorPrepareClips": "training.prepare",
    "WanDirectorSubmit": "queueing.submit",
    "WanDirectorFetch": "queueing.fetch",
    "WanDirectorFromNative": "bridges.from_native",
    "WanDirectorToNativeModel": "bridges.to_native_model",
}

NODE_DISPLAY_NAME_MAPPINGS = {
    "WanDirectorLoadModel": "Load Wan Model",
    "WanDirectorLora": "Wan LoRA",
    "WanDirectorExperts": "Wan Two Experts",
    "WanDirectorLoadVAE": "Load Wan VAE",
    "WanDirectorLoadTextEncoder": "Load Wan Text Encoder",
    "WanDirectorLoadClipVision": "Load Wan CLIP Vision",
    "WanDirectorLoadAudioEncoder": "Load Wan Audio Encoder",
    "WanDirectorLoadUni3C": "Load Wan Uni3C",
    "WanDirectorLoadInfiniteTalk": "Load Wan InfiniteTalk",
    "WanDirectorTextEncode": "Wan Text Encode",
    "WanDirectorPromptTravel": "Wan Prompt Travel",
    "WanDirectorEnhancePrompt": "Wan Enhance Prompt",
    "WanDirectorBatchPrompts": "Wan Batch Prompts",
    "WanDirectorUnbatch": "Wan Unbatch",
    "WanDirectorClipVisionEncode": "Wan CLIP Vision Encode",
    "WanDirectorAudioEncode": "Wan Audio Encode",
    "WanDirectorEmptyLatent": "Wan Empty Latent",
    "WanDirectorImageToVideo": "Wan Image To Video",
    "WanDirectorKeyframe": "Wan Keyframe",
    "WanDirectorSpreadKeyframes": "Wan Spread Keyframes",
    "WanDirectorFitSize": "Wan Fit Size",
    "WanDirectorExtend": "Wan Extend Video",
    "WanDirectorSVI": "Wan SVI Conditioning",
    "WanDirectorCausalStart": "Wan Causal Start",
    "WanDirectorVace": "Wan VACE",
    "WanDirectorFunControl": "Wan Fun Control",
    "WanDirectorCameraPath": "Wan Camera Path",
    "WanDirectorBernini": "Wan Bernini Conditioning",
    "WanDirectorAnimate": "Wan Animate",
    "WanDirectorPhantom": "Wan Phantom",
    "WanDirectorScail": "Wan SCAIL",
    "WanDirectorColouredMasks": "Wan Coloured Masks",
    "WanDirectorAnimate2": "Wan Animate 2",
    "WanDirectorSpeechToVideo": "Wan Speech To Video",
    "WanDirectorHumo": "Wan HuMo",
    "WanDirectorInfiniteTalk": "Wan InfiniteTalk",
    "WanDirectorDanceMusic": "Wan Dance Music",
    "WanDirectorDancePart": "Wan Dance Part",
    "WanDirectorDancer": "Wan Dancer",
    "WanDirectorUni3C": "Wan Uni3C",
    "WanDirectorLoadVideo": "Wan Load Video",
    "WanDirectorEncode": "Wan Encode Video",
    "WanDirectorMemory": "Wan Memory",
    "WanDirectorGuidance": "Wan Guidance",
    "WanDirectorMotion": "Wan Motion",
    "WanDirectorStepCache": "Wan Step Cache",
    "WanDirectorPoseCache": "Wan Pose Cache",
    "WanDirectorWindows": "Wan Windows",
    "WanDirectorTiles": "Wan Tiles",
    "WanDirectorCausal": "Wan Causal",
    "WanDirectorSampler": "Wan Sampler",
    "WanDirectorEditClip": "Wan Edit Clip",
    "WanDirectorUpscaleVideo": "Wan Upscale Video",
    "WanDirectorSourceVideo": "Wan Source Video",
    "WanDirectorEditPicture": "Wan Edit Picture",
    "WanDirectorDecode": "Wan Decode Video",
    "WanDirectorDecodeRGBA": "Wan Decode RGBA",
    "WanDirectorJoin": "Wan Join Clips",
    "WanDirectorMatchColour": "Wan Match Colour",
    "WanDirectorSaveVideo": "Wan Save Video",
    "WanDirectorDecodeToVideo": "Wan Decode To Video",
    "WanDirectorLongVideo": "Wan Long Video",
    "WanDirectorStreamVideo": "Wan Stream Video",
    "WanDirectorDataset": "Wan Dataset",
    "WanDirectorTrainLora": "Wan Train LoRA",
    "WanDirectorPrepareClips": "Wan Prepare Clips",
    "WanDirectorSubmit": "Wan Submit",
    "WanDirectorFetch": "Wan Fetch",
    "WanDirectorFromNative": "Wan From Native",
    "WanDirectorToNativeModel": "Wan To Native Model",
}

WEB_DIRECTORY = "./web"

__all__ = ["NODE_CLASS_MAPPINGS", "NODE_DISPLAY_NAME_MAPPINGS", "WEB_DIRECTORY"]

_MODULES = NODE_CLASS_MAPPINGS
del NODE_CLASS_MAPPINGS


def __getattr__(name: str) -> object:
    """The classes once they are asked for: `wan-director --help` and a script that only samples need not load them."""
    if name != "NODE_CLASS_MAPPINGS":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .nodes.hosts.host import has_host, use_host
    from .nodes.registry import node_classes

    if not has_host():  # nodes used from a script
        from .nodes.hosts.command_line import HeadlessHost

        use_host(HeadlessHost())
    globals()[name] = node_classes(_MODULES)
    return globals()[name]


def _install_in_comfyui() -> bool:
    """Makes ComfyUI the host; False where none of this Python's is new enough to be one."""
    from .nodes.api import HOSTED

    if HOSTED:
        from .nodes.hosts.comfy import ComfyHost, register_bundled_models, settle_in
        from .nodes.hosts.host import use_host

        use_host(ComfyHost())
        register_bundled_models()
        settle_in(Path(__file__).parent, _MODULES)
    return HOSTED


if find_spec("comfy_api") is not None and _install_in_comfyui():
    from .nodes.registry import node_classes

    NODE_CLASS_MAPPINGS = node_classes(_MODULES)
