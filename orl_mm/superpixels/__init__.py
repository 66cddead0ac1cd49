"""Prior masks (superpixels) and their cache."""
