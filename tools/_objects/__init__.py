"""Parts of tools/score_objects.py."""
