"""From collated batches to normalised tensors on the device."""
