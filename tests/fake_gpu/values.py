"""What a step reads of the device, for R2O: the stand-in has no values.

Move these patches along with the code that they replace.
"""

from importlib import import_module

from orl_mm.models.refiners.kmeans_refiner import KMeansRefiner
from orl_mm.models.utils import r2o_pairs

kmeans = import_module('orl_mm.models.utils.kmeans')  # a function of the package has its name


def patch_values(iterations: int) -> None:
    """Replace the host's reads of the pairs, of Lloyd's flag, and the generator on the device.

    Args:
        iterations (int): After as many iterations of Lloyd the clusters no longer change. On
            ImageNet's features there were 10 to 16.
    """

    def read(pairs):
        if pairs._seen is None:
            pairs._event.synchronize()
            images, regions = pairs.valid.shape
            pairs._seen = [[images * min(regions, 12), images, 0]] * pairs.world_size
        return pairs._seen

    def seen(flag, done, iteration):
        look = flag_seen(flag, done, iteration)
        # Known one look late, as on a device.
        return look if not flag.cuda else iteration + 1 >= iterations + 2 * kmeans._CHUNK - 1

    flag_seen = kmeans._LaggingFlag.seen
    r2o_pairs.RegionPairs._read = read
    kmeans._LaggingFlag.seen = seen
    KMeansRefiner._generator = staticmethod(lambda device, draw: None)
