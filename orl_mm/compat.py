"""Adjustments to the packages this project stands on, each one undoing a measured fault."""
