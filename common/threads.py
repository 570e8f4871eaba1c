"""How the threads of torch wait for work, settled before torch is imported.

By default they spin between two operations. On a machine whose cores are busy they then take the time of the thread
that they wait for: a run of the bundled model took 8 to 51 seconds of processor time, with sleeping threads 5 (two
cores, torch 2.13). The OpenMP runtime reads its settings once, when torch brings it in, so in ComfyUI, which has
imported torch long before, this changes nothing. A setting of the user's own stays.
"""

from __future__ import annotations

import os
import sys

if "torch" not in sys.modules:
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
