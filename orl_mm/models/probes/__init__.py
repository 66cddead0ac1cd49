"""What frozen features know: evaluation of a pretrained backbone."""
