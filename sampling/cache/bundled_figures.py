"""Figures of the bundled models: magnitude ratios for MagCache, coefficients for TeaCache.

Recorded in two runs of 30 steps of four clips each, 17 frames of 64 x 64, with the bundled models' usual cfg and
shift 5. The coefficients are a fit of degree 4, of the velocity's relative change to that of the modulation.
"""

from __future__ import annotations

T2V_TINY = (
    1, 0.9913, 0.9938, 0.9901, 0.9978, 0.9909, 0.9915, 0.9901, 0.9928, 0.9857, 0.9892, 0.9866, 0.9854, 0.9855, 0.9843,
    0.9824, 0.981, 0.9748, 0.9773, 0.9764, 0.9684, 0.9649, 0.9611, 0.9569, 0.9474, 0.9375, 0.9288, 0.9145, 0.9082,
    0.9272,
)  # fmt: skip

I2V_TINY = (
    1, 0.995, 0.9951, 0.9942, 0.9993, 0.992, 0.9921, 0.9909, 0.9937, 0.9869, 0.9905, 0.9886, 0.9872, 0.9873, 0.986,
    0.9843, 0.983, 0.9775, 0.9792, 0.9783, 0.9711, 0.9679, 0.9648, 0.9605, 0.9522, 0.9436, 0.9362, 0.9241, 0.9193,
    0.9327,
)  # fmt: skip

TIME_T2V_TINY = (440.929, -64.769, 12.2736, -0.585629, 0.0256333)
TIME_I2V_TINY = (312.006, -6.98874, -0.556706, 0.229324, 0.00144651)
