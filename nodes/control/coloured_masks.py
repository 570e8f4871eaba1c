"""The node that tells SCAIL-2 who is who: masks of persons, each in a colour of its own."""

from __future__ import annotations

from typing import Any

from ...common.checking import choice_of
from ..api import ADVANCED, io, one_sentence
from ..image import CATEGORY
from .colours import BLACK, NAMES, WHITE
from .painting import NEXT, PersonsIn, coloured
from .person_tracks import SORTINGS

TrackData = io.Custom("SAM3_TRACK_DATA")


def _sockets() -> list[Any]:
    """Masks, tracks, and what is painted already."""
    return [
        io.Mask.Input(
            "pose_mask",
            optional=True,
            tooltip="Where a person is in the pose video: a mask for each of its frames, or one for all.",
        ),
        io.Mask.Input(
            "reference_mask",
            optional=True,
            tooltip="Where the same person is on the reference picture: one mask for each of several pictures.",
        ),
        TrackData.Input("tracks", optional=True, tooltip="SAM3 tracks of the persons in the pose video."),
        TrackData.Input(
            "reference_tracks", optional=True, tooltip="SAM3 tracks of the persons on the reference pictures."
        ),
        io.Image.Input(
            "pose_video_mask",
            optional=True,
            tooltip="That of another Wan Coloured Masks, to which this person is added.",
        ),
        io.Image.Input(
            "reference_image_mask",
            optional=True,
            tooltip="That of another Wan Coloured Masks, to which this person is added.",
        ),
    ]


class WanDirectorColouredMasks(io.ComfyNode):
    """Masks of persons in a video and on pictures, in colours."""

    @classmethod
    def define_schema(cls) -> Any:
        return io.Schema(
            node_id="WanDirectorColouredMasks",
            display_name="Wan Coloured Masks",
            category=CATEGORY,
            description="Paints persons of a video and of reference pictures in the colours by which SCAIL-2 tells who "
            "is who. From masks, one person a node, several in a row; or from tracks of SAM3, all at once.",
            search_aliases=[
                "SCAIL2ColoredMask", "colored mask", "scail", "sam3", "identity mask", "wan coloured masks",
            ],
            inputs=[
                io.Combo.Input(
                    "colour",
                    options=[NEXT, *NAMES],
                    default=NEXT,
                    tooltip="Of the person in pose_mask and reference_mask. next: the first that nobody has yet, blue "
                    "for the first person.",
                ),
                io.Boolean.Input(
                    "replacement_mode",
                    default=False,
                    tooltip="As in Wan SCAIL. It decides the ground: off has black behind the persons of the video and "
                    "white behind those of the pictures, on the other way round.",
                ),
                io.Combo.Input(
                    "sort_by",
                    options=list(SORTINGS),
                    default=SORTINGS[0],
                    tooltip="For tracks: who gets the first colour. Who appears earlier comes first, of those who "
                    "appear together the leftmost, or the largest. none: in the order of the tracks.",
                    **ADVANCED,
                ),
                io.String.Input(
                    "persons",
                    default="",
                    tooltip="For tracks: who is taken, by numbers in that order, such as 0, 2. Empty: all.",
                    **ADVANCED,
                ),
                *_sockets(),
            ],
            outputs=[
                io.Image.Output(display_name="pose_video_mask", tooltip="Who is where in the video, for Wan SCAIL."),
                io.Image.Output(
                    display_name="reference_image_mask", tooltip="Who is where on the pictures, for Wan SCAIL."
                ),
            ],
        )  # fmt: skip

    @classmethod
    @one_sentence
    def execute(
        cls,
        colour: str,
        replacement_mode: bool,
        sort_by: str,
        persons: str,
        pose_mask: Any = None,
        reference_mask: Any = None,
        tracks: Any = None,
        reference_tracks: Any = None,
        pose_video_mask: Any = None,
        reference_image_mask: Any = None,
    ) -> Any:
        colour, sorting = choice_of(colour, (NEXT, *NAMES), "colour"), choice_of(sort_by, SORTINGS, "sort_by")
        grounds = (WHITE, BLACK) if replacement_mode else (BLACK, WHITE)
        shown = (
            PersonsIn("pose", grounds[0], pose_video_mask, pose_mask, tracks),
            PersonsIn("reference", grounds[1], reference_image_mask, reference_mask, reference_tracks),
        )
        return io.NodeOutput(*coloured(shown, colour, sorting, persons))
