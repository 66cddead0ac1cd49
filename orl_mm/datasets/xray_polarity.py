"""Is a frontal chest X-ray stored inverted (lungs bright)?"""

import cv2
import numpy as np


def looks_inverted(grey: np.ndarray) -> bool:
    """Whether a frontal chest X-ray seems to be stored with bright lungs.

    Args:
        grey (np.ndarray): (H, W) uint8, the whole frontal image.

    Returns:
        bool: The lung fields are brighter than the strip of spine and heart between.
    """
    small = cv2.resize(grey, (32, 32), interpolation=cv2.INTER_AREA).astype(np.float32)
    lungs = (small[8:18, 5:11].mean() + small[8:18, 21:27].mean()) / 2
    return bool(lungs > small[8:26, 14:18].mean())
