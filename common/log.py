"""The pack's one logger: info for what a user chose or waits for, debug for the rest."""

from __future__ import annotations

import logging

logger = logging.getLogger("wan_director")
