"""Parts of tools/evidence.py."""
