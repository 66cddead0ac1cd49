from .nearest_neighbor import NearestNeighbor

__all__ = ['NearestNeighbor']
