"""Importing orl_mm changes nothing in other packages, but for a torchvision that cannot import."""

import textwrap
from pathlib import Path

import pytest
import torch

from tests.interpreter import run

ROOT = Path(__file__).resolve().parents[1]


LOAD_COMPAT = f"""
import importlib.util
spec = importlib.util.spec_from_file_location(
    'compat', {str(ROOT / 'orl_mm' / 'compat.py')!r})
compat = importlib.util.module_from_spec(spec)
spec.loader.exec_module(compat)
compat.declare_torchvision_ops()
"""


def fake_torchvision(folder: Path) -> Path:
    """A package that does what torchvision's import does about nms."""
    package = folder / 'torchvision'
    package.mkdir()
    (package / '__init__.py').write_text(
        textwrap.dedent("""
        import torch

        @torch.library.register_fake('torchvision::nms')
        def nms(dets, scores, iou_threshold):
            return dets
    """)
    )
    return package


def test_torchvision_without_its_library_imports(tmp_path):
    fake_torchvision(tmp_path)
    done = run(
        """
        try:
            import torchvision
        except RuntimeError as error:
            print('before:', error)
        """
        + textwrap.indent(LOAD_COMPAT, ' ' * 8)
        + """
        import torchvision, torch
        print('after:', torch.ops.torchvision.nms, torch.ops.torchvision.qnms)
        print('twice:', compat.declare_torchvision_ops())
        """,
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert 'before: operator torchvision::nms does not exist' in done.stdout
    assert 'after: torchvision.nms torchvision.qnms' in done.stdout
    assert 'twice: False' in done.stdout


def test_working_torchvision_is_left_alone(tmp_path):
    """A library that loads stands for one that declares its own operators."""
    package = fake_torchvision(tmp_path)
    library = next(
        path
        for path in (Path(torch.__file__).parent / 'lib').iterdir()
        if path.name.startswith('libc10.')
    )
    (package / '_C.so').symlink_to(library)
    done = run(
        textwrap.dedent(LOAD_COMPAT)
        + textwrap.dedent("""
        import torch
        print('declared:', hasattr(torch.ops.torchvision, 'nms'),
              compat._torchvision_schemas)
        """),
        tmp_path,
    )
    assert done.returncode == 0, done.stderr
    assert 'declared: False None' in done.stdout


def test_torchvision_of_this_environment_imports():
    import torchvision

    boxes, scores = torch.tensor([[0.0, 0, 2, 2], [0, 0, 2, 2]]), torch.ones(2)
    if hasattr(torch.ops.torchvision, 'roi_align'):
        assert torchvision.ops.nms(boxes, scores, 0.5).tolist() == [0]
    else:
        with pytest.raises(RuntimeError, match="Couldn't load custom C\\+\\+ ops"):
            torchvision.ops.nms(boxes, scores, 0.5)


# Where torchvision cannot import by itself, its two schemas are declared before the comparison.
UNCHANGED = f"""{LOAD_COMPAT}
import logging, os, warnings
sys.modules['mmdet'] = None  # takes as long to import as all others, and orl_mm never does
import mmengine, mmengine.logging, mmengine.utils, torch, torchvision
from mmengine.config.utils import MODULE2PACKAGE
from mmengine.runner import checkpoint

def state():
    owners = [mmengine.logging, mmengine.utils, mmengine.utils.package_utils, checkpoint]
    owners += [mmengine.logging.MMLogger, checkpoint.CheckpointLoader, warnings]
    functions = {{
        (repr(owner), name): value
        for owner in owners for name, value in vars(owner).items() if callable(value)
    }}
    levels = {{name: logging.getLogger(name).level for name in ('', 'mmengine', 'torch', 'PIL')}}
    filters = [f for f in warnings.filters if f[3] is not None or f[1] is not None]
    return functions, dict(MODULE2PACKAGE), dict(os.environ), levels, filters, (
        torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())

import mmpretrain.models, mmpretrain.datasets, mmpretrain.engine, mmpretrain.evaluation
import skimage, sklearn.metrics, cv2, PIL.Image, matplotlib.figure
before = state()
import orl_mm
after = state()
for old, new in zip(before, after):
    if isinstance(old, dict):
        print({{key for key in old.keys() | new.keys() if old.get(key) != new.get(key)}})
    else:
        print(old == new or (old, new))
"""


def test_import_changes_nothing_in_other_packages():
    done = run(UNCHANGED, ROOT)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split('\n')[-7:-1] == ['set()'] * 4 + ['True'] * 2, done.stdout
