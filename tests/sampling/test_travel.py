"""When each prompt of a travel counts: shares of latent frames, and what is refused."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.sampling.travel import Moment, PromptSchedule


def at(*frames: float, transition: float = 0.0) -> PromptSchedule:
    return PromptSchedule(tuple(Moment(frame) for frame in frames), transition)


def test_a_cut_lies_where_the_latent_frame_of_its_frame_is():
    # Latent frame 0 is frame 0, latent frame k is 4k - 3 to 4k: frame 9 begins latent frame 3.
    assert at(0, 9).shares(5, 16).tolist() == [[1, 1, 1, 0, 0], [0, 0, 0, 1, 1]]
    assert at(0, 8).shares(5, 16)[1].tolist() == [0, 0, 0.25, 1, 1]
    assert at(0, 1).shares(5, 16).tolist() == [[1, 0, 0, 0, 0], [0, 1, 1, 1, 1]]


@pytest.mark.parametrize("transition", [0.0, 3.0, 8.0, 20.0])
def test_shares_are_a_smooth_sum_of_one(transition):
    shares = at(0, 20, 40, transition=transition).shares(16, 16)
    torch.testing.assert_close(shares.sum(0), torch.ones(16), rtol=0, atol=1e-6)
    assert shares.min() >= 0 and (shares[0].diff() <= 1e-6).all() and (shares[2].diff() >= -1e-6).all()


def test_a_transition_is_the_smooth_step_of_its_frames_averaged_by_hand():
    def step(x: float) -> float:
        x = min(max(x, 0.0), 1.0)
        return 3 * x**2 - 2 * x**3

    frames = [step((frame + 0.5 - 17) / 8 + 0.5) for frame in range(33)]
    expected = [frames[0], *(sum(frames[4 * k - 3 : 4 * k + 1]) / 4 for k in range(1, 9))]
    torch.testing.assert_close(at(0, 17, transition=8).shares(9, 16)[1], torch.tensor(expected))
    assert expected[4] == pytest.approx(1 - expected[5])  # its middle is where the prompt begins


def test_seconds_and_percent_are_frames_of_the_video():
    cut = at(0, 16).shares(9, 16)
    for moment, fps in ((Moment(1, "second"), 16), (Moment(2, "second"), 8), (Moment(1600 / 33, "percent"), 24)):
        assert torch.equal(PromptSchedule((Moment(0), moment)).shares(9, fps), cut)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        (at(4, 16), "first prompt begins at frame 4, and the frames before it have none. Let it begin at 0"),
        (at(0, 16, 16), "prompt at frame 16 does not come after the one at frame 16. Write .* order"),
        (at(0, 33), r"prompt at frame 33 begins after the end of the video, which has 33 frames"),
        (PromptSchedule((Moment(0), Moment(3, "second"))), r"at 3 s \(frame 48\) begins after the end"),
        (at(0, 14, 15), "frame 14 leads in none of the 9 latent frames: they are 4 frames long"),
        (at(0, 14, 18, transition=40), "frame 14 leads in none .* a transition takes 40"),
    ],
)
def test_times_that_cannot_be_are_refused_in_a_sentence(schedule, words):
    with pytest.raises(InvalidInputError, match=words):
        schedule.shares(9, 16)


def test_one_picture_has_one_prompt():
    assert at(0).shares(1, 16).tolist() == [[1.0]]
