"""How a training fits into memory: what a step takes, and what of it leaves the device."""
