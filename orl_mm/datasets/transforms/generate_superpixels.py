from typing import Optional

import numpy as np
import torch
from mmcv.transforms import BaseTransform

from orl_mm.registry import TRANSFORMS
from orl_mm.structures.view_geometry import ViewGeometry
from orl_mm.superpixels import priors


@TRANSFORMS.register_module()
class GenerateSuperpixels(BaseTransform):
    def __init__(self, method: str = 'slic', size: int = 224, cache=None, **params):
        self.method = method
        self.size = size
        self.params = params

    def transform(self, results: dict) -> Optional[dict]:
        img = results['img']
        x0 = ViewGeometry.whole(*img.shape[:2]).apply_image(img, self.size)
        results['x0'] = x0
        if self.method == 'none':
            return results
        labels = priors.METHODS[self.method](np.ascontiguousarray(x0[..., ::-1]), **self.params)
        num = int(labels.max()) + 1
        results['regions'] = torch.from_numpy(labels.astype(np.uint8) if num <= 256 else labels)
        results['num_regions'] = num
        return results
