"""The memory of the machine and its devices: how much is free, and what to do when there is none."""
