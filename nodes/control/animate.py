"""The node that prepares a video in which a person of a picture follows the poses and the face of another (Animate)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from ...common.checking import check_count, check_number, choice_of
from ...common.errors import InvalidInputError
from ...common.log import logger
from ...common.shapes import MAX_FRAMES, TEMPORAL_STRIDE, VideoShape, latent_frames
from ...dit.branches.animate.motion import MotionSizes
from ...media.pictures import FITS, Fit, clean_clip, clean_image, clean_masks, fit_pictures
from ..api import ADVANCED, io, one_sentence
from ..conditioning.clip_image import joined_clip_vision
from ..conditioning.entries import with_values
from ..conditioning.families.animate import FACE, POSES
from ..conditioning.keys import IMAGE
from ..conditioning.reading import check_fresh
from ..image import CATEGORY, batch_input, size_inputs
from ..sockets.latents import check_video_size, check_wan_2_1, empty_latent, made_by, with_references

FRAMES, CONTINUED = 77, 5
_SIDE = MotionSizes().side


class WanDirectorAnimate(io.ComfyNode):
    """The conditioning and latent of a video for Wan-Animate."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorAnimate",
            display_name="Wan Animate",
            category=CATEGORY,
            description="Prepares a video for Wan-Animate: the person of a reference picture moves as in another video "
            "and has the expressions of the face there, in the picture's own scene or in the place of a person of that "
            "video. Long videos are made in parts.",
            search_aliases=[
                "animate", "WanAnimateToVideo", "character", "replace person", "pose", "face", "motion transfer",
                "character animation", "wan animate",
            ],
            inputs=[
                io.Conditioning.Input("positive", tooltip="The encoded positive prompt."),
                io.Conditioning.Input("negative", tooltip="The encoded negative prompt."),
                io.Vae.Input("vae", tooltip="The Wan 2.1 VAE, which encodes the pictures and will decode the video."),
                io.Image.Input("reference_image", tooltip="The person, and without a background video the scene."),
                *size_inputs(FRAMES),
                batch_input(),
                io.Combo.Input(
                    "fit",
                    options=list(FITS),
                    default="crop",
                    tooltip="How pictures of another shape come to the video's size: crop cuts off what stands over "
                    "(centred), pad adds black bars, stretch distorts.",
                ),
                io.Int.Input(
                    "continue_motion_max_frames",
                    default=CONTINUED,
                    min=1,
                    max=MAX_FRAMES,
                    step=TEMPORAL_STRIDE,
                    tooltip="How many of the last frames of continue_motion this part begins with: 1 + 4k. The model "
                    "was trained with 1 and 5.",
                    **ADVANCED,
                ),
                io.Int.Input(
                    "video_frame_offset",
                    default=0,
                    min=0,
                    max=MAX_FRAMES,
                    tooltip="How many frames of all videos the parts before have made: the output of the same name of "
                    "the node of the part before, 0 for the first part.",
                ),
                *_followed_inputs(),
            ],
            outputs=_outputs(),
        )  # fmt: skip

    @classmethod
    def validate_inputs(cls, width: int | None = None, height: int | None = None, frames: int | None = None) -> bool:
        check_video_size(width, height, frames)
        return True

    @classmethod
    @one_sentence
    def execute(
        cls,
        positive: list,
        negative: list,
        vae: Any,
        reference_image: Any,
        width: int,
        height: int,
        frames: int,
        batch_size: int,
        fit: str,
        continue_motion_max_frames: int,
        video_frame_offset: int,
        pose_video: Any = None,
        face_video: Any = None,
        background_video: Any = None,
        character_mask: Any = None,
        continue_motion: Any = None,
        clip_vision: Any = None,
    ) -> Any:
        _check(positive, negative, vae)
        latent = with_references(empty_latent(vae, width, height, frames, batch_size), 1)
        video = _Part(VideoShape(frames, height, width), choice_of(fit, FITS, "fit"))
        continued = last_frames(continue_motion, frames, continue_motion_max_frames)
        start = _start(video_frame_offset, len(continued))
        followed = FollowedVideos(pose_video, face_video, background_video, character_mask).from_frame(start)
        values = given_values(vae, video, followed, reference_image, continued) | joined_clip_vision(clip_vision, None)
        sides = _with_face(video, [with_values(side, values) for side in (positive, negative)], followed.face_video)
        return io.NodeOutput(*sides, latent, 1, len(continued), start + frames)


def _check(positive: list, negative: list, vae: Any) -> None:
    check_fresh(positive, negative, (IMAGE, POSES, FACE), "a picture or what a person follows")
    check_wan_2_1(vae, "Wan-Animate")


def _followed_inputs() -> list[Any]:
    return [
        io.Image.Input(
            "pose_video", optional=True, tooltip="Drawn poses (DWPose, ViTPose) of the body. Its last frame stands on."
        ),
        io.Image.Input("face_video", optional=True, tooltip="The face, cut out square; it is made 512 x 512."),
        io.Image.Input(
            "background_video",
            optional=True,
            tooltip="The video whose person is replaced, with the person blacked out. Needs character_mask.",
        ),
        io.Mask.Input(
            "character_mask",
            optional=True,
            tooltip="Where in background_video the person is put: white is made anew, black is kept. One mask serves "
            "all frames.",
        ),
        io.Image.Input("continue_motion", optional=True, tooltip="The frames of the part before, to go on from."),
        io.ClipVisionOutput.Input("clip_vision", optional=True, tooltip="The reference image in CLIP vision."),
    ]


def _outputs() -> list[Any]:
    return [
        io.Conditioning.Output(display_name="positive", tooltip="The positive prompt with all that is given."),
        io.Conditioning.Output(
            display_name="negative", tooltip="The negative prompt with the same, but for a black face."
        ),
        io.Latent.Output(
            display_name="LATENT",
            tooltip="A blank latent with a frame for the reference picture first, for the Wan Sampler.",
        ),
        io.Int.Output(
            display_name="trim_latent",
            tooltip="How many latent frames of the reference stand before the video. Wan Decode Video leaves "
            "them out by itself; ComfyUI's own nodes need Trim Video Latent with this number.",
        ),
        io.Int.Output(
            display_name="trim_image",
            tooltip="How many of this part's first frames are the last of the part before: the overlap for Wan "
            "Join Clips. 0 for the first part.",
        ),
        io.Int.Output(
            display_name="video_frame_offset", tooltip="For the node of the next part: where its videos begin."
        ),
    ]


class _Part(NamedTuple):
    """The part of a video to make, and how pictures come to its size."""

    shape: VideoShape
    fit: Fit

    def fitted(self, pictures: Tensor) -> Tensor:
        """Pictures [F, H, W, C] at its size."""
        return fit_pictures(pictures, self.shape.width, self.shape.height, self.fit)


class FollowedVideos(NamedTuple):
    """What a person follows, and where it is put: clips [F, H, W, C], None for what there is none of."""

    pose_video: Tensor | None
    face_video: Tensor | None
    background_video: Tensor | None
    character_mask: Tensor | None

    def from_frame(self, start: int) -> FollowedVideos:
        """What is left of each from a frame on, checked; a single mask serves all frames.

        Raises:
            InvalidInputError: nothing is given, or is left; pictures or masks that are none; a background that
                nobody is put into, or the other way round.
        """
        clips = {name: clean_clip(clip, name) for name, clip in zip(self._fields[:3], self) if clip is not None}
        if not clips:
            raise InvalidInputError(
                f"Nothing is given to follow. Connect one of {', '.join(self._fields[:3])}, or use Wan Image To Video."
            )
        if (self.character_mask is None) != ("background_video" not in clips):
            raise InvalidInputError(
                "A person is put into a background_video where character_mask says, and only one of the two is "
                "connected. Connect both, or neither to keep the scene of the reference image."
            )
        longest = max(map(len, clips.values()))
        if start >= longest:
            raise InvalidInputError(
                f"This part begins at frame {start} of videos that have {longest} at most: there is nothing left to "
                "follow. Leave this part out, or lower video_frame_offset."
            )
        for name in (name for name, clip in clips.items() if len(clip) <= start):
            logger.warning("%s ends before frame %d, where this part begins: it is made without.", name, start)
        left = {name: clip[start:] for name, clip in clips.items() if len(clip) > start}
        if self.character_mask is not None:
            masks = clean_masks(self.character_mask, "character_mask")
            left |= {"character_mask": masks if len(masks) == 1 else masks[start:]}
        return FollowedVideos(*(left.get(name) for name in self._fields))


def last_frames(clip: Any, frames: int, most: int) -> Tensor:
    """The last 1 + 4k frames of a clip [F, H, W, 3], at most so many and fewer than are made; none of no clip.

    Raises:
        InvalidInputError: it is no clip, or `most` no number of frames.
    """
    if clip is None:
        return torch.zeros(0, 1, 1, 3)
    check_number(most, "continue_motion_max_frames")
    if most < 1:
        raise InvalidInputError(f"continue_motion_max_frames must be at least 1, got {most}. Usual is {CONTINUED}.")
    clip = clean_clip(clip, "continue_motion")
    count = min(len(clip), most, max(frames - 1, 1))
    return clip[len(clip) - (count - (count - 1) % TEMPORAL_STRIDE) :]


def given_values(vae: Any, video: _Part, followed: FollowedVideos, reference: Any, continued: Tensor) -> dict[str, Any]:
    """The conditioning values of the reference picture, the frames to go on from, a background and poses.

    Raises:
        InvalidInputError: the reference is no picture.
    """
    frames, height, width = video.shape
    picture = vae.encode(video.fitted(clean_image(reference, "reference_image")))
    clip, before = torch.full((frames, height, width, 3), 0.5), len(continued)
    if followed.background_video is not None:
        background = video.fitted(followed.background_video[:frames])
        clip[: len(background)] = background
    if before:
        clip[:before] = video.fitted(continued)
    latent = torch.cat([picture, vae.encode(clip)], dim=2)
    mask = _mask(video, followed.character_mask, before, latent[:, :1, 1:])
    given = torch.cat([torch.zeros_like(mask[:, :, :1]), mask], dim=2)
    values = {"concat_latent_image": latent, "concat_mask": given} | made_by(vae)
    return values | _poses(vae, video, followed.pose_video)


def _mask(video: _Part, masks: Tensor | None, before: int, like: Tensor) -> Tensor:
    """[1, 4, T, h, w], 1 = made, of the video's latent frames, whose size is that of `like` [1, 1, T, h, w].

    A latent pixel has the value of the pixel in its middle; behind the end of the masks all is made.

    Source: Wan-Video/Wan2.2 wan/animate.py, get_i2v_mask.
    """
    frames, size = video.shape.frames, like.shape[-2:]
    made = torch.ones(frames, *size)
    if masks is not None:
        fitted = video.fitted(masks[:frames])[..., 0]
        small = F.interpolate(fitted[:, None], size, mode="nearest-exact")[:, 0]
        made[: frames if len(small) == 1 else len(small)] = small
    made[:before] = 0
    made = torch.cat([made[:1].expand(TEMPORAL_STRIDE - 1, -1, -1), made])
    return made.unflatten(0, (latent_frames(frames), TEMPORAL_STRIDE)).movedim(1, 0)[None]


def _poses(vae: Any, video: _Part, poses: Tensor | None) -> dict[str, Any]:
    """The conditioning value of poses; the last one stands to the end."""
    if poses is None:
        return {}
    frames = video.shape.frames
    if len(poses) < frames:
        logger.info("pose_video ends %d frames before this part: its last pose stands on.", frames - len(poses))
    clip = video.fitted(poses[:frames])
    return {POSES: vae.encode(torch.cat([clip, clip[-1:].expand(frames - len(clip), -1, -1, -1)]))}


def _with_face(video: _Part, sides: list[list], face: Tensor | None) -> list[list]:
    """The prompts with a face, if there is one; the negative one sees a black one."""
    if face is None:
        return sides
    if len(face) < video.shape.frames:
        logger.info("face_video ends %d frames before this part.", video.shape.frames - len(face))
    pictures = fit_pictures(face[: video.shape.frames], _SIDE, _SIDE, "crop")
    pixels = (pictures * 2 - 1).movedim(-1, 0)[None]  # [1, 3, F, side, side]
    black = pixels.new_full((1, 1, 1, 1, 1), -1.0).expand_as(pixels)
    return [with_values(side, {FACE: each}) for side, each in zip(sides, (pixels, black))]


def _start(offset: int, continued: int) -> int:
    """The frame of all videos at which a part begins that shows so many of the part before again."""
    check_count(offset, "video_frame_offset", "The first part begins at 0.")
    return max(offset - continued, 0)
