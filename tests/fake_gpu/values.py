"""What a step reads of the device, for R2O: the stand-in has no values.

Move these patches along with the code that they replace.
"""

from importlib import import_module

from orl_mm.models.refiners.kmeans_refiner import KMeansRefiner
from orl_mm.models.utils import kmeans_solver, r2o_pairs

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

    def delayed_look(look, number):
        chunks = getattr(look, 'chunks', 0)  # known by now
        look.chunks = chunks + 1
        if chunks:
            look.pending[1].synchronize()
        look.pending = None
        real_look(look, number)
        if not chunks:
            return None
        return 0 if chunks * kmeans_solver._CHUNK > iterations else kmeans_solver._CHUNK

    real_look = kmeans._DelayedLook.__call__
    r2o_pairs.RegionPairs._read = read
    kmeans._DelayedLook.__call__ = delayed_look
    KMeansRefiner._generator = staticmethod(lambda device, draw: None)
