"""Maps that are computed once for each image and kept on disk.

What is computed is a :class:`~orl_mm.map_cache.spec.MapSpec`; ``build`` makes the maps in
parallel, ``reader`` reads them back, ``entry`` is the format of one file and ``provenance`` the
JSON file beside them.
"""
