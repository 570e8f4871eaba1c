"""How long a film is, which frames are in it, and which films there are not."""

from __future__ import annotations

import pytest
import torch
from wan_director.common.errors import InvalidInputError
from wan_director.engine.films.film import film_frames, outline_film
from wan_director.engine.films.kept import NO_FILMS_KEPT
from wan_director.engine.films.shape import FilmShape, film_shape, read_prompts
from wan_director.engine.local import LocalRuntime
from wan_director.engine.resuming.kept import NO_RUNS_KEPT

SHAPES = [(1, 5, 1), (1, 81, 5), (2, 9, 5), (5, 17, 1), (5, 17, 5), (3, 33, 17), (125, 17, 1), (7, 81, 77)]


class Counting:
    """Makes clips whose frames say where in the film they belong; those that were given are 0.5 more."""

    def __init__(self, shape: FilmShape) -> None:
        self.shape, self.given, self.most, self.alive = shape, [], 0, 0

    def decisive(self, clip):
        raise AssertionError("nothing is kept")

    def frames(self, clip, given):
        self.given.append(given)
        begin = clip * (self.shape.clip_frames - self.shape.overlap)
        for number in range(self.shape.clip_frames):
            is_given = given is not None and number < len(given)
            yield torch.full((2, 3, 3), begin + number + 0.5 * is_given)


@pytest.mark.parametrize("sizes", SHAPES)
def test_each_frame_of_a_film_is_there_once_and_none_that_was_given(sizes):
    shape = FilmShape(*sizes)
    maker = Counting(shape)
    film = [float(frame[0, 0, 0]) for frame in film_frames(shape, maker, NO_FILMS_KEPT, NO_RUNS_KEPT)]
    assert film == list(range(len(film))) and len(film) == shape.frames
    assert sum(shape.new_frames(clip) for clip in range(shape.clips)) == shape.frames
    assert maker.given[0] is None
    for clip, given in enumerate(maker.given[1:], start=1):
        begin = clip * (shape.clip_frames - shape.overlap)
        # Where the overlap is more than half of a clip, some of what is handed on was given to its maker, too.
        assert given[:, 0, 0, 0].floor().tolist() == list(range(begin, begin + shape.overlap))


def test_a_frame_is_asked_for_when_it_is_wanted_and_not_before():
    shape, made = FilmShape(3, 9, 5), []

    class Watched(Counting):
        def frames(self, clip, given):
            for frame in super().frames(clip, given):
                made.append(clip)
                yield frame

    film = film_frames(shape, Watched(shape), NO_FILMS_KEPT, NO_RUNS_KEPT)
    for taken in range(1, 10):
        next(film)
        assert len(made) == taken
    next(film)
    assert made == [0] * 9 + [1] * 6


def test_outside_of_a_plan_an_outline_makes_nothing():
    shape = FilmShape(3, 9, 5)
    maker = Counting(shape)
    outline_film(shape, maker, LocalRuntime("cpu"))
    assert maker.given == []


@pytest.mark.parametrize(
    ("prompts", "clips", "expected"), [(("a",), 0, 1), (("a", "b", "c"), 0, 3), (("a", "b"), 9, 9), (("a", "b"), 2, 2)]
)
def test_clips_are_counted_or_one_of_each_line(prompts, clips, expected):
    assert film_shape(prompts, clips, 17, 5) == FilmShape(expected, 17, 5)


@pytest.mark.parametrize(
    ("changed", "sentence"),
    [
        ({"overlap": 6}, "The overlap of two clips is 1 + 4k frames, got 6. Use 5 or 9."),
        ({"overlap": 0}, "The overlap of two clips is 1 + 4k frames, got 0. Use 1 or 5."),
        ({"overlap": 17}, "Clips of 17 frames that begin with 17 of the clip before bring nothing new. Use a smaller"),
        ({"clip_frames": 16}, "A clip has 1 + 4k frames, got 16. Use 13 or 17."),
        ({"prompts": ()}, "There is no prompt for the film. Write one in each line"),
        ({"prompts": ("a", "b", "c"), "clips": 2}, "There are 3 prompts, one a line, for 2 clips. Remove lines, or"),
        ({"clips": -1}, "A film has 1 to 10,000 clips, got -1."),
        ({"clips": 10_001}, "A film has 1 to 10,000 clips, got 10,001."),
    ],
)
def test_a_film_that_there_is_not_gets_one_sentence(changed, sentence):
    sizes = {"prompts": ("a",), "clips": 3, "clip_frames": 17, "overlap": 5, **changed}
    with pytest.raises(InvalidInputError) as refused:
        film_shape(sizes["prompts"], sizes["clips"], sizes["clip_frames"], sizes["overlap"])
    assert str(refused.value).startswith(sentence)


def test_blank_lines_are_left_out():
    assert read_prompts("a cat\n\n  a dog \n \n") == ("a cat", "a dog")
    assert read_prompts(" \n") == ()
