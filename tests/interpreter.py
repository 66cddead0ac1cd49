"""Run code in a new interpreter, for tests of what importing changes."""

import subprocess
import sys
import textwrap


def run(code: str, *paths) -> subprocess.CompletedProcess:
    """Run ``code`` in a new interpreter that finds modules in ``paths`` first."""
    lines = ''.join(f'sys.path.insert(0, {str(path)!r})\n' for path in paths)
    return subprocess.run(
        [sys.executable, '-c', 'import sys\n' + lines + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
    )
