"""From collated batches to normalized tensors on the device."""
