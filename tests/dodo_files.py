"""Workflows of projects/*/small as modules, as doit reads them."""

import importlib.util
from pathlib import Path

from doit import doit_cmd

ROOT = Path(__file__).resolve().parents[1]


def load_dodo(project, **variables):
    """``projects/PROJECT/small/dodo.py`` with variables of the command line."""
    doit_cmd.reset_vars()
    for name, value in variables.items():
        doit_cmd.set_var(name, str(value))
    file = ROOT / 'projects' / project / 'small' / 'dodo.py'
    spec = importlib.util.spec_from_file_location(f'dodo_{project}', file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
