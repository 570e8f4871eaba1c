"""What an error of ours is called, where it is shown and where it travels."""

from __future__ import annotations

import pickle

import pytest
from wan_director.common import errors

CLASSES = [
    each
    for each in vars(errors).values()
    if isinstance(each, type) and issubclass(each, Exception) and each is not errors.GivenUp  # which nobody is shown
]


@pytest.mark.parametrize("error_class", CLASSES, ids=lambda each: each.__name__)
def test_the_full_name_of_an_error_shows_no_folder(error_class: type[Exception]):
    assert f"{error_class.__module__}.{error_class.__qualname__}" == f"wan_director.{error_class.__name__}"


@pytest.mark.parametrize("error_class", CLASSES, ids=lambda each: each.__name__)
def test_an_error_reaches_another_process_as_it_is(error_class: type[Exception]):
    sent = error_class("A clip has 1 + 4k frames, got 80. Use 77 or 81.")
    received = pickle.loads(pickle.dumps(sent))
    assert type(received) is error_class and received.args == sent.args and str(received) == str(sent)
