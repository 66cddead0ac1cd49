"""The measurements behind ``tools/benchmark.py``, one idea a file.

A benchmark is a module with ``add_arguments(parser)`` (optional) and
``run(args) -> Report``; ``tools/benchmark.py`` holds the table of their names.
"""
