"""Caches of maps that are computed once for each image."""
