"""From superpixels to objects."""
