"""What tells pictures apart that are not the same: 64 bits that survive another size and another coder."""

from __future__ import annotations

import numpy as np

from ..packages import opencv


def difference_hash(picture: np.ndarray) -> int:
    """Whether each of 8 x 8 places of a picture [h, w], uint8, grey, is darker than the one to its right.

    Source: the dHash of N. Krawetz, "Kind of Like That", 2013.
    """
    cv2 = opencv()
    small = cv2.resize(picture, (9, 8), interpolation=cv2.INTER_AREA).astype(np.int16)
    bits = (small[:, 1:] > small[:, :-1]).reshape(-1)
    return int.from_bytes(np.packbits(bits).tobytes(), "big")
