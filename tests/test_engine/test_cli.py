"""Reading a config, and the errors that name a mistake in it."""

import argparse
import os

import pytest
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS
from orl_tools import Parser, add_common_arguments

from orl_mm.engine import cli


def config(**keys):
    return Config(dict(dict(model=dict(type='R2O')), **keys))


def common(*words, **more):
    parser = Parser(prog='train.py')
    add_common_arguments(parser)
    args = parser.parse_args(words)
    return argparse.Namespace(**{**vars(args), 'config': 'a/name.py', 'work_dir': None, **more})


MISSPELLED = (
    'optim_wraper=optim_wrapper train_dataloder=train_dataloader custom_hook=custom_hooks '
    'modle=model load_form=load_from env_cgf=env_cfg defualt_scope=default_scope'
)


@pytest.mark.parametrize('pair', MISSPELLED.split())
def test_misspelled_runner_key_names_the_right_one(pair):
    key, meant = pair.split('=')
    with pytest.raises(cli.UserError, match=f"'{key}'.*'{meant}'"):
        cli.check_top_level_keys(config(**{key: 1}))


def test_own_variables_stay_legal():
    keys = (
        'train_pipeline test_pipeline dataset_type data_root conv_cfg custom_keys max_epochs '
        'gallery_dataloader optim_wrapper tta_model custom_imports'
    )
    cli.check_top_level_keys(config(**dict.fromkeys(keys.split(), 1)))


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
def test_unreadable_config(tmp_path, text):
    path = tmp_path / 'c.py'
    path.write_text(text)
    with pytest.raises(cli.UserError, match='c.py.* cannot be read: .+'):
        cli.load_config(str(path))


@pytest.mark.parametrize(
    ('own', 'typed', 'expected'),
    [({}, None, 'work_dirs/name'), (dict(work_dir='a'), None, 'a'), (dict(work_dir='a'), 'b', 'b')],
)
def test_work_dir_from_command_then_config_then_name(own, typed, expected):
    cfg = config(**own)
    cli.merge_common_arguments(cfg, common(work_dir=typed))
    assert cfg.work_dir == expected


def test_cfg_options_reach_the_config_and_are_checked():
    cfg = config(hooks=[1])
    cli.merge_common_arguments(cfg, common('--cfg-options', 'model.type=BYOL'))
    assert cfg.model.type == 'BYOL'
    with pytest.raises(cli.UserError, match="'optim_wraper'.*'optim_wrapper'"):
        cli.merge_common_arguments(cfg, common('--cfg-options', 'optim_wraper.optimizer.lr=1'))
    with pytest.raises(cli.UserError, match='does not fit'):
        cli.merge_common_arguments(config(hooks=[1]), common('--cfg-options', 'hooks.7.a=1'))


def test_cfg_options_name_elements_of_lists_by_type():
    hooks = [dict(type='orl_mm.A'), dict(type='B', parts=[dict(type='C', size=1)]), dict(type='B')]
    cfg = config(custom_hooks=hooks)
    cli.merge_options(cfg, {'custom_hooks.A.x': 1, 'custom_hooks.1.parts.C.size': 2, 'new.a.b': 3})
    assert cfg.custom_hooks[0].x == 1
    assert cfg.custom_hooks[1].parts[0].size == 2
    assert cfg.new.a.b == 3
    for key in ('custom_hooks.B.x', 'custom_hooks.D.x'):  # two, none
        with pytest.raises(cli.UserError, match='is not one of'):
            cli.merge_options(cfg, {key: 1})


def test_messages_name_the_command_or_key(monkeypatch):
    monkeypatch.delenv('RANK', raising=False)
    with pytest.raises(cli.UserError, match='tools/dist_train.sh CONFIG GPUS'):
        cli.merge_common_arguments(config(), common('--launcher', 'pytorch'))
    with pytest.raises(cli.UserError, match='testing needs test_dataloader'):
        cli.check_parts(config(), 'testing', 'test_dataloader')
    with pytest.raises(cli.UserError, match='type: make ops'), cli.config_errors():
        raise ModuleNotFoundError("No module named 'mmcv._ext'", name='mmcv._ext')


OFF = dict(no_pin_memory=True, no_persistent_workers=True)
ON = dict(pin_memory=True, persistent_workers=True)
COLLATE = dict(type='default_collate')


@pytest.mark.parametrize(
    ('scope', 'loader', 'args', 'expected'),
    [
        ('mmpretrain', {}, {}, dict(ON, collate_fn=COLLATE)),
        ('mmdet', {}, {}, {}),
        ('mmseg', {}, {}, {}),
        ('mmdet', ON, OFF, dict(pin_memory=False, persistent_workers=False)),
        (
            'mmpretrain',
            dict(ON, num_workers=0),
            {},
            dict(pin_memory=True, persistent_workers=False, collate_fn=COLLATE),
        ),
        # A base config of another package adds its scope to collate_fn.
        (
            'mmpretrain',
            dict(collate_fn=dict(COLLATE, _scope_='mmpretrain')),
            {},
            dict(ON, collate_fn=COLLATE),
        ),
    ],
)
def test_defaults_of_loaders(scope, loader, args, expected, monkeypatch):
    monkeypatch.setattr(cli, 'get_device', lambda: 'cuda')
    loader = dict(dict(num_workers=2), **loader)
    cfg = config(default_scope=scope, train_dataloader=loader, val_dataloader=None)
    cli.set_dataloader_defaults(cfg, common(**args))
    assert cfg.train_dataloader == dict(num_workers=loader['num_workers'], **expected)


def test_no_pinned_memory_without_a_device(monkeypatch):
    monkeypatch.setattr(cli, 'get_device', lambda: 'cpu')
    cfg = config(default_scope='mmseg', train_dataloader=dict(num_workers=2, pin_memory=True))
    cli.set_dataloader_defaults(cfg, common())
    assert cfg.train_dataloader.pin_memory is False


@MODELS.register_module()
class SizedPart:
    def __init__(self, size, shape=None):
        if size < 1:
            raise ValueError(f'size must be at least 1, got {size}')


@pytest.mark.parametrize(
    ('cfg', 'message'),
    [
        (dict(type='SizedPart', size=0), '^size must be at least 1, got 0$'),
        (dict(type='SizedPart', size=1, shap=2), r"SizedPart.*'shap'; did you mean 'shape'\? \("),
        (dict(type='SizedPart', size=1, zzz=2), r"argument 'zzz' \(traceback: "),
        (dict(type='SizedPat', size=1), "SizedPat is not in .* Did you mean 'SizedPart'"),
        (dict(type='orl_mm.R20'), "Did you mean 'orl_mm.R2O'"),
        (dict(type='Zzzz'), 'custom_imports'),
        (dict(type='orl_mm.ImageList', data_root='/no/such', pipeline=[]), "'/no/such'"),
    ],
)
def test_error_of_building_is_one_line(cfg, message):
    registry = DATASETS if 'data_root' in cfg else MODELS
    with pytest.raises(cli.UserError, match=message), cli.config_errors():
        registry.build(cfg)


def test_traceback_is_in_the_log_file(tmp_path):
    MMLogger.get_instance('setup', log_file=str(tmp_path / 'run.log'))
    message = rf'^AttributeError: .*traceback: {tmp_path}/run.log'
    with pytest.raises(cli.UserError, match=message), cli.config_errors():
        None.size  # noqa: B018
    assert 'None.size' in (tmp_path / 'run.log').read_text()


@pytest.mark.parametrize('start', ['before_train', 'before_test'])
def test_errors_of_the_run_pass_unchanged(start):
    fault = ValueError('a fault of the code')

    def run():
        with cli.config_errors() as setup:
            getattr(setup, start)(None)
            raise fault

    with pytest.raises(ValueError, match='a fault') as raised:
        run()
    assert raised.value is fault


class FakeRunner:
    """Builds its data set when a loop is asked for."""

    def __init__(self, data):
        self.data, self.cfg = data, dict(train_dataloader=dict(dataset=data))

    @property
    def train_loop(self):
        return DATASETS.build(self.data)

    @property
    def val_loop(self):
        raise ValueError('other')


@DATASETS.register_module(name='lines')
class Lines(BaseDataset):
    def load_data_list(self):
        with open(self.ann_file) as file:
            return [dict(name=line) for line in file]


@DATASETS.register_module(name='silent')
class Silent(BaseDataset):
    def load_data_list(self):
        raise AssertionError  # as mmseg's PascalVOCDataset


DATASETS.register_module(name='json', module=BaseDataset)


@pytest.mark.parametrize(
    ('kind', 'file', 'text', 'message'),
    [
        ('lines', 'train.list', '', 'no sample, or filter_cfg leaves none'),
        (
            'json',
            'train.json',
            '{"metainfo": {}, "data_list": [{',
            'the file is truncated or not JSON',
        ),
        ('silent', 'train.list', 'a', 'a file or folder is missing'),
        ('lines', 'train.list', None, 'No such file'),
    ],
)
def test_unreadable_data_are_named(kind, file, text, message, tmp_path):
    if text is not None:
        (tmp_path / file).write_text(text)
    runner = FakeRunner(dict(type=kind, data_root=str(tmp_path), ann_file=file))
    with pytest.raises(cli.UserError) as error:
        cli.build_loops(runner, 'train')
    assert str(error.value).startswith(f'{kind}, ')
    assert f"data_root='{tmp_path}', ann_file='{tmp_path}/train." in str(error.value)
    assert message in str(error.value)


def test_readable_data_and_other_errors_pass_unchanged(tmp_path):
    (tmp_path / 'train.list').write_text('a')
    runner = FakeRunner(dict(type='lines', data_root=str(tmp_path), ann_file='train.list'))
    cli.build_loops(runner, 'train')
    with pytest.raises(ValueError, match='^other$'):
        cli.build_loops(runner, 'val')
