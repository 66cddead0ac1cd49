"""Reading a config, and what a user is told about a wrong one."""

import argparse
import os

import pytest
from mmengine.config import Config
from mmengine.registry import DATASETS, HOOKS, MODELS, Registry
from orl_command import Parser, add_common_arguments

from orl_mm.engine import cli


def config(**keys):
    return Config(dict(dict(model=dict(type='R2O')), **keys))


def common(*words, **more):
    parser = Parser(prog='train.py')
    add_common_arguments(parser)
    args = parser.parse_args(words)
    return argparse.Namespace(**{**vars(args), 'config': 'a/name.py', 'work_dir': None, **more})


@pytest.mark.parametrize(
    ('key', 'meant'),
    [
        ('optim_wraper', 'optim_wrapper'),
        ('train_dataloder', 'train_dataloader'),
        ('custom_hook', 'custom_hooks'),
        ('modle', 'model'),
        ('load_form', 'load_from'),
        ('env_cgf', 'env_cfg'),
        ('defualt_scope', 'default_scope'),
    ],
)
def test_misspelt_runner_key_names_the_right_one(key, meant):
    with pytest.raises(cli.UserError, match=f"'{key}'.*'{meant}'"):
        cli.check_top_level_keys(config(**{key: 1}))


@pytest.mark.parametrize(
    'key',
    [
        'train_pipeline',
        'test_pipeline',
        'dataset_type',
        'data_root',
        'conv_cfg',
        'custom_keys',
        'gallery_dataloader',
        'max_epochs',
        'optim_wrapper',
        'tta_model',
        'custom_imports',
    ],
)
def test_own_variables_stay_legal(key):
    cli.check_top_level_keys(config(**{key: 1}))


def test_stock_configs_pass():
    """All of one package's algorithms, as they are shipped."""
    import mmpretrain

    folder = os.path.join(os.path.dirname(mmpretrain.__file__), '.mim', 'configs')
    for name in (
        'byol/byol_resnet50_16xb256-coslr-200e_in1k.py',
        'mae/mae_vit-base-p16_8xb512-amp-coslr-300e_in1k.py',
        'resnet/resnet18_8xb32_in1k.py',
    ):
        assert cli.load_config(os.path.join(folder, name)).model


@pytest.mark.parametrize(
    'text', ["_base_ = './none.py'", 'model = dict(', "_base_ = 'mmrotate::a/b.py'"]
)
def test_unreadable_config_is_told(tmp_path, text):
    path = tmp_path / 'c.py'
    path.write_text(text)
    with pytest.raises(cli.UserError, match='c.py.* cannot be read: .+'):
        cli.load_config(str(path))


def test_work_dir_from_command_then_config_then_name():
    cfg = config()
    cli.merge_common_arguments(cfg, common())
    assert cfg.work_dir == 'work_dirs/name'
    cfg = config(work_dir='own')
    cli.merge_common_arguments(cfg, common())
    assert cfg.work_dir == 'own'
    cli.merge_common_arguments(cfg, common(work_dir='typed'))
    assert cfg.work_dir == 'typed'


def test_cfg_options_reach_the_config_and_are_checked():
    cfg = config(hooks=[1])
    cli.merge_common_arguments(cfg, common('--cfg-options', 'model.type=BYOL'))
    assert cfg.model.type == 'BYOL'
    with pytest.raises(cli.UserError, match="'optim_wraper'.*'optim_wrapper'"):
        cli.merge_common_arguments(cfg, common('--cfg-options', 'optim_wraper.optimizer.lr=1'))
    with pytest.raises(cli.UserError, match='does not fit'):
        cli.merge_common_arguments(config(hooks=[1]), common('--cfg-options', 'hooks.7.a=1'))


def test_launcher_without_torchrun_is_told(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(cli.UserError, match='tools/dist_train.sh CONFIG GPUS'):
        cli.merge_common_arguments(config(), common('--launcher', 'pytorch'))


def loaders(scope, **loader):
    return config(
        default_scope=scope,
        train_dataloader=dict(dict(num_workers=2), **loader),
        val_dataloader=None,
    )


@pytest.fixture
def device(monkeypatch):
    monkeypatch.setattr(cli, 'get_device', lambda: 'cuda')


def test_only_mmpretrain_gets_the_default_collate(device):
    cfg = loaders('mmpretrain')
    cli.set_dataloader_defaults(cfg, common())
    assert cfg.train_dataloader.collate_fn == dict(type='default_collate')
    assert cfg.train_dataloader.persistent_workers is True
    assert cfg.train_dataloader.pin_memory is True
    for scope in ('mmdet', 'mmseg'):
        cfg = loaders(scope)
        cli.set_dataloader_defaults(cfg, common())
        assert cfg.train_dataloader == dict(num_workers=2)


def test_nothing_is_pinned_without_a_device(monkeypatch):
    monkeypatch.setattr(cli, 'get_device', lambda: 'cpu')
    cfg = loaders('mmseg', pin_memory=True)
    cli.set_dataloader_defaults(cfg, common())
    assert cfg.train_dataloader.pin_memory is False


def test_loader_switches(device):
    cfg = loaders('mmdet', pin_memory=True, persistent_workers=True)
    cli.set_dataloader_defaults(cfg, common('--no-pin-memory', no_persistent_workers=True))
    assert cfg.train_dataloader.pin_memory is False
    assert cfg.train_dataloader.persistent_workers is False
    cfg = loaders('mmpretrain', num_workers=0, persistent_workers=True)
    cli.set_dataloader_defaults(cfg, common())
    assert cfg.train_dataloader.persistent_workers is False


def test_mark_of_an_external_base_does_not_reach_collate():
    cfg = loaders('mmpretrain', collate_fn=dict(type='default_collate', _scope_='mmpretrain'))
    cli.set_dataloader_defaults(cfg, common())
    assert cfg.train_dataloader.collate_fn == dict(type='default_collate')


def test_config_without_a_part_is_told():
    with pytest.raises(cli.UserError, match='testing needs test_dataloader'):
        cli.check_parts(config(), 'testing', 'test_dataloader')


PARTS = Registry('part')


@PARTS.register_module()
class Part:
    def __init__(self, size, shape=None, inner=None):
        if inner is not None:
            PARTS.build(inner)
        if size == 0:
            self.fail(sizes=1)

    def fail(self):
        pass


@PARTS.register_module()
class Wide(Part):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)


@pytest.mark.parametrize(
    ('cfg', 'said'),
    [
        (dict(type='Part', size=1, shap=2), "Part the argument 'shap'.*'shape'"),
        (dict(type='Part', size=1, zzz=2), "Part the argument 'zzz'.*it takes size, shape, inner"),
        (dict(type='Wide', size=1, shap=2), "Wide the argument 'shap'"),
        (dict(type='Part', size=1, inner=dict(type='Part', size=1, q=1)), "Part the argument 'q'"),
        (dict(type='Prat', size=1), "the part 'Prat'.*did you mean 'Part'"),
    ],
)
def test_wrong_part_is_told_with_key_and_part(cfg, said):
    with pytest.raises(cli.UserError, match=said), cli.config_errors():
        PARTS.build(cfg)


@pytest.mark.parametrize(
    'error', [TypeError('unsupported operand'), KeyError('label'), ValueError('x')]
)
def test_other_errors_pass_untouched(error):
    with pytest.raises(type(error)) as raised, cli.config_errors():
        raise error
    assert raised.value is error


def test_value_that_a_part_of_ours_refuses(tmp_path):
    with pytest.raises(cli.UserError, match="orl_mm.ImageList: .*'/no/such/folder'"):
        with cli.config_errors():
            DATASETS.build(dict(type='orl_mm.ImageList', data_root='/no/such/folder', pipeline=[]))


def test_fault_inside_a_part_keeps_its_traceback():
    with pytest.raises(TypeError, match="unexpected keyword argument 'sizes'"):
        with cli.config_errors():
            PARTS.build(dict(type='Part', size=0))


def test_name_of_another_scope_is_found():
    with pytest.raises(cli.UserError, match="did you mean 'orl_mm.R2O'"), cli.config_errors():
        MODELS.build(dict(type='orl_mm.R20'))
    with pytest.raises(cli.UserError, match='EMAHooc'), cli.config_errors():
        HOOKS.build(dict(type='EMAHooc'))


def test_missing_compiled_ops_are_told():
    with pytest.raises(cli.UserError, match='type: make ops'), cli.config_errors():
        raise ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext')
    with pytest.raises(ModuleNotFoundError), cli.config_errors():
        raise ModuleNotFoundError('other', name='other')
