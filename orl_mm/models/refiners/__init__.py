from .kmeans_refiner import KMeansRefiner, Objects

__all__ = ['KMeansRefiner', 'Objects']
