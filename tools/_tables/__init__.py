"""Parts of tools/tables.py."""
