"""What a command is given beside its options."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from ....common.records import record
from .stopping import Stop

if TYPE_CHECKING:
    from ...hosts.host import Host


@record
class Session:
    """One run of the command line.

    Attributes:
        stop: whether it was asked to stop.
        nodes: gives the pack's nodes by id, and loads them first.
        use_host: makes a host that of this process.
    """

    stop: Stop
    nodes: Callable[[], Mapping[str, type]]
    use_host: Callable[[Host], None]
