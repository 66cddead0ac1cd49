"""The benchmarks behind ``tools/benchmark.py``: one file each, with a function ``run(args)``.

``reference/`` holds the code that they compare with.
"""
