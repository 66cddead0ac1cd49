"""The settings are in pyproject.toml; this adds configs, tools and the model index to the wheel.

mim looks for them in ``<package>/.mim``, as mmpretrain, mmdet and mmseg have it. An editable
install has no such folder: mim looks for it beside the metadata, not beside the source.
"""

import shutil
from pathlib import Path

from setuptools import find_packages, setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent
PARTS = ('configs', 'tools', 'projects', 'model-index.yml')


class BuildWithIndex(build_py):
    """The package's modules, and what mim looks for."""

    def run(self):
        super().run()
        if self.editable_mode:
            return
        mim = Path(self.build_lib) / 'orl_mm' / '.mim'
        shutil.rmtree(mim, ignore_errors=True)
        for name in PARTS:
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, mim / name, ignore=shutil.ignore_patterns('__pycache__'))
            else:
                shutil.copy(source, mim / name)  # raises where it is missing


# The `orl` command is a package of its own, so that it answers without importing orl_mm. Its
# name comes after orl_mm's: mmengine and mim take the first of top_level.txt for the package.
setup(
    packages=[*find_packages(include=['orl_mm*']), 'orl_tools'],
    package_dir={'orl_tools': 'tools/orl_tools'},
    cmdclass=dict(build_py=BuildWithIndex),
)
