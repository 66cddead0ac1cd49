"""What may replace the target of a region."""
