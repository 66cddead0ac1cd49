"""Losses that a config chooses."""
