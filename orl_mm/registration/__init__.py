"""Templates of named parts: files, averages, and one exemplar registered to all images."""
