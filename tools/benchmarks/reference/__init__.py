"""Published training steps, rewritten from their public code, to compare with."""
