"""Costs: formulas against hand values, counts against hand counts, a training held and timed."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

sys.path.insert(0, str(Path(__file__).parents[2] / 'tools'))
sys.path.insert(0, str(Path(__file__).parents[1]))
from _evidence import (  # noqa: E402
    carry,
    carry_count,
    carry_page,
    cost,
    cost_page,
    cost_scaling,
    cost_tool,  # noqa: E402
)
from small import write_photographs  # noqa: E402

RECIPE = carry.Recipe(
    'r2o',
    'R2O',
    'r2o',
    epochs=2,
    batch=10,
    flops=1e9,
    gradient_bytes=10**8,
    norm_calls=100,
    kmeans_start=(4e8, 400),
    kmeans_each=(1e8, 100),
    load='load_r2o',
    prepare=('superpixels',),
)
VALUES = dict(
    gpu_tflops=1.0,
    kernel_us=5.0,
    norm_us=20.0,
    between_gb_s=1.0,
    within_gb_s=10.0,
    overlap=0.5,
    cores_per_gpu=4.0,
    core_speed=2.0,
    imagenet_images=1000,
    chexpert_images=90,
    r2o_gpus=4,
    medino_gpus=2,
    load_r2o=0.02,
    superpixels=0.036,
    guiding=3.0,
    kmeans_iterations=6.0,
    hop_us=0.0,
)


def test_ring_all_reduce():
    assert carry.ring_seconds(4e9, 4, 2.0) == pytest.approx(2 * 3 / 4 * 4 / 2)
    assert carry.ring_seconds(4e9, 1, 2.0, 5.0) == 0
    # 100 MB are 4 buckets of 25 MiB, each 2 x 3 hops of 10 us.
    assert carry.ring_seconds(1e8, 4, 2.0, 10.0) == pytest.approx(0.075 + 24 * 10e-6)


def test_steps_as_the_sampler_shares_images_out():
    """1,281,167 over 128 is 10,009.05: 10,010 each, in 312 whole batches of 32."""
    assert carry.steps_of_an_epoch(1281167, 128, 32) == 312
    assert carry.steps_of_an_epoch(10, 3, 2) == 2
    assert carry.steps_of_an_epoch(9, 3, 2) == 1


def test_terms_by_hand():
    terms = carry.step_terms(RECIPE, VALUES)
    assert terms == pytest.approx(
        dict(
            networks=10 * 1e9 / 1e12,
            clustering=1e9 / 1e12 + 1000 * 5e-6,
            norms=100 * 20e-6,
            all_reduce=0.5 * 2 * 3 / 4 * 1e8 / 1e9,
            loading=10 * 0.02 / 2 / 4,
        )
    )


def test_a_run_by_hand():
    """A step of 10 + 6 + 2 + 75 ms; 25 batches of 10 in an epoch of 1000 images over 4."""
    found = carry.carry(RECIPE, VALUES)
    assert found['steps'] == 2 * 25
    assert found['limit'] == 'all_reduce'
    assert found['step'] == pytest.approx(0.093)
    assert found['hours'] == pytest.approx(50 * 0.093 / 3600)
    assert found['gpu_hours'] == pytest.approx(4 * 50 * 0.093 / 3600)
    assert found['load_core_hours'] == pytest.approx(2 * 1000 * 0.02 / 2 / 3600)
    assert found['cores_to_keep_up'] == pytest.approx(4 * 0.025 / 0.093)
    assert found['prepare_core_hours'] == pytest.approx(1000 * 0.036 / 2 / 3600)
    assert found['each_epoch_core_hours'] == pytest.approx(2 * found['prepare_core_hours'])


def test_a_slow_loader_limits():
    found = carry.carry(RECIPE, dict(VALUES, load_r2o=2.0))
    assert found['limit'] == 'loading'
    assert found['step'] == pytest.approx(10 * 2.0 / 2 / 4)


def test_medino_stays_in_a_node_and_is_guided():
    recipe = replace(RECIPE, family='medino', factor='guiding')
    terms = carry.step_terms(recipe, VALUES)
    assert terms['networks'] == pytest.approx(3 * 0.01)
    assert terms['all_reduce'] == pytest.approx(0.5 * 2 * 1 / 2 * 1e8 / 10e9)
    assert carry.carry(recipe, VALUES)['steps'] == 2 * 4  # 90 over 2, in batches of 10


def test_kmeans_by_hand():
    """K = 3: one centre, two more with 3 trials each, then 1 + 2 x 2 products with 3 rows."""
    assert carry.kmeans_flops(100, 8, 3, 2) == 2 * 100 * 8 * (1 + 2 * 3 + 3 * 5)


def test_assumptions_are_changed_and_mistakes_named():
    changed = {a.name: a for a in carry.assume(carry.ASSUMED, ['gpu_tflops=60', 'norm_us=5..7'])}
    assert (changed['gpu_tflops'].best, changed['gpu_tflops'].worst) == (60, 60)
    assert (changed['norm_us'].best, changed['norm_us'].worst) == (5, 7)
    assert changed['gpu_tflops'].source == '--assume'
    assert not changed['gpu_tflops'].measured
    assert {a.name: a for a in carry.ASSUMED}['gpu_tflops'].best == 29  # not in place
    with pytest.raises(ValueError, match="no assumption 'tflops'; there are gpu_tflops, kernel_us"):
        carry.assume(carry.ASSUMED, ['tflops=3'])
    for text in (
        'gpu_tflops',
        'gpu_tflops=',
        'gpu_tflops=fast',
        'gpu_tflops=1..2..3',
        'gpu_tflops=nan',
    ):
        with pytest.raises(ValueError, match='gpu_tflops=VALUE or gpu_tflops=BEST'):
            carry.assume(carry.ASSUMED, [text])
    for text in ('gpu_tflops=0', 'gpu_tflops=-1', 'overlap=1.5', 'norm_us=-1'):
        with pytest.raises(ValueError, match='must be'):
            carry.assume(carry.ASSUMED, [text])


def test_best_is_shorter_than_worst_for_each_name_by_itself():
    """By the sum of all causes, since the longer of step and loader hides the other."""
    found = [
        *carry.ASSUMED,
        carry.Assumption('kmeans_iterations', 15, 40, '', ''),
        carry.Assumption('load_r2o', 0.01, 0.01, 's', ''),
        carry.Assumption('guiding', 1.01, 1.03, 'x', ''),
    ]
    medino = replace(RECIPE, family='medino', factor='guiding')

    def seconds(recipe, worse=None):
        values = {a.name: a.worst if a.name == worse else a.best for a in found}
        return sum(carry.step_terms(recipe, values).values())

    for a in found:
        if a.best != a.worst:
            assert any(seconds(r, a.name) > seconds(r) for r in (RECIPE, medino)), a.name
            assert all(seconds(r, a.name) >= seconds(r) for r in (RECIPE, medino)), a.name


class Net(nn.Module):
    """A convolution, a batch norm and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).mean((2, 3)))


def test_a_small_network_is_counted_as_by_hand():
    """No gradient for the image, so the convolution goes back once and the linear layer twice."""
    net, x = Net().train(), torch.randn(2, 3, 6, 6)

    def loss():
        with torch.no_grad():
            net(x)
        return net(x).sum()

    conv, fc = 2 * 2 * 6 * 6 * 4 * 3 * 9, 2 * 2 * 4 * 5
    found = carry_count.count_step(loss, net)
    assert found['forward'] == 2 * (conv + fc)
    assert found['backward'] == conv + 2 * fc
    assert found['norm_calls'] == 1 + 2  # without a gradient, and with
    assert found['gradient_bytes'] == 4 * (4 * 27 + 8 + 4 * 5 + 5)


def test_attention_is_counted():
    """Two products of (8 x 4)(4 x 8) and (8 x 8)(8 x 4), each 2 x 256 a head and image."""
    x = torch.randn(1, 3, 8, 4, requires_grad=True)
    found = carry_count.count_step(
        lambda: nn.functional.scaled_dot_product_attention(x, x, x).sum(), nn.Identity()
    )
    assert found['forward'] == 3 * 2 * (2 * 8 * 8 * 4)


def test_launches_of_kmeans_grow_with_iterations():
    few, more, most = (carry_count.kmeans_kernels(8, n) for n in (1, 2, 4))
    assert 10 < more - few == (most - more) / 2  # distances, minimum, sums, ...
    assert carry_count.kmeans_kernels(16, 1) > few


def tiny(cfg):
    """Two images a batch, a narrow network, 32 pixels: ``cost.measure(change=...)``."""
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.dataset.list_file = None
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'orl_mm.MultiViewWithGeometry' and 'size' in step:
            step.size = 32
        if step.type == 'orl_mm.GenerateSuperpixels':
            step.size = 64
    backbone = cfg.model.backbone
    backbone.update(base_channels=8, stem_channels=8)
    if cfg.model.type == 'orl_mm.R2O':
        cfg.model.update(grid=2)
        cfg.model.refiner.update(mask_size=16)
        cfg.model.neck.projector.in_channels = 64
    else:
        cfg.model.neck.in_channels = 64


@pytest.fixture
def two_methods(tmp_path, monkeypatch):
    """BYOL and R2O on twelve small photographs."""
    images = write_photographs(tmp_path / 'images', 12)
    monkeypatch.setenv('ORL_NATURAL', str(images))
    methods = tuple(m for m in cost.NATURAL if m.key in ('byol', 'r2o'))
    monkeypatch.setitem(cost.TABLES, 'natural', (methods, ('byol',)))
    return tmp_path


def test_a_table_is_measured(two_methods):
    """Real runners, tiny: every number is there, ratios to itself are one."""
    found = cost.measure('natural', two_methods / 'work', two_methods, 3, tiny)
    byol, r2o = found['rows']
    assert found['batch'] == 2
    assert found['without'] == []
    for row in found['rows']:
        for what in ('step', 'load'):
            assert 0 < row[what]['low'] <= row[what]['seconds'] <= row[what]['high']
        assert row['peak_bytes'] > 0
    assert byol['step']['ratio']['byol'] == dict(value=1, low=1, high=1)
    assert r2o['step']['ratio']['byol']['value'] == pytest.approx(
        r2o['step']['seconds'] / byol['step']['seconds']
    )
    assert 'load_anew' not in byol
    assert r2o['load_anew']['seconds'] > r2o['load']['seconds']  # SLIC is not in the cache's
    # Online in fp32 with AdamW's two moments, target, and no gradient.
    assert 4 * 4 * 50_000 < byol['held_bytes'] < byol['held_bytes'] + r2o['held_bytes']
    assert 0 < found['kmeans']['kmeans'] < found['kmeans']['refine'] < 1
    assert found['kmeans']['points'] > 2
    assert found['kmeans']['iterations'] >= 1


def test_hooks_and_target_take_part(two_methods):
    """A held step is a training step: the network moves, the target after it, K by its hook."""
    from _evidence.cost_loading import Loader
    from _evidence.cost_sides import held_bytes, hold, read_config

    def change(cfg):
        tiny(cfg)
        cfg.custom_hooks[-1].schedule = dict(
            type='linear', epochs=[0, cfg.train_cfg.max_epochs], values=[9, 3]
        )

    cfg = read_config('configs/r2o/small/r2o.py', change)
    load = Loader(cfg, 2)
    load()
    loop = hold(cfg, 'held', two_methods)
    loop.batches = load.batches
    model = loop.runner.model
    assert loop.epoch == cfg.train_cfg.max_epochs // 2
    target = [p.clone() for p in model.target.parameters()]
    before = loop.iter
    held = held_bytes(loop)
    for _ in range(3):
        loop()
    assert loop.iter == before + 3
    assert 3 < model.refiner.num_clusters < 9  # half-way between
    assert any(
        not torch.equal(a, b) for a, b in zip(target, model.target.parameters(), strict=False)
    )
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert held_bytes(loop) - held >= 2 * 4 * trained  # the optimiser's two moments


def test_a_template_that_is_not_there_leaves_its_row_out(two_methods, monkeypatch):
    byol, r2o = cost.TABLES['natural'][0]
    monkeypatch.setitem(
        cost.TABLES, 'natural', ((byol, replace(r2o, template='absent.npz')), ('byol',))
    )
    found = cost.measure('natural', two_methods / 'work', two_methods, 2, tiny)
    assert [row['key'] for row in found['rows']] == ['byol']
    assert found['without'] == ['r2o']


FOUND = dict(
    table='natural',
    references=['byol'],
    batch=32,
    rounds=15,
    without=['average'],
    date='2026-11-25',
    machine='2 cores',
    command='tools/evidence.py cost',
    rows=[
        dict(
            key=key,
            name=name,
            peak_bytes=peak * 2**20,
            held_bytes=2**20,
            step=dict(
                seconds=s,
                low=s / 2,
                high=2 * s,
                ratio=dict(byol=dict(value=s / 2, low=s / 4, high=s)),
            ),
            load=dict(seconds=s, ratio=dict(byol=dict(value=s / 2, low=0.1, high=9))),
        )
        for key, name, peak, s in (('byol', 'BYOL', 10, 2.0), ('r2o', 'R2O', 30, 5.0))
    ],
)


def test_the_page_and_the_figure(tmp_path):
    text = cost_page.markdown(dict(natural=FOUND))
    row = next(line for line in text.splitlines() if line.startswith('| R2O'))
    assert '5.000 (2.500 to 10.000) | 6.4 | 2.50 (1.25 to 5.00)' in row
    assert '| 30 | 3.00 | 1.0 |' in row
    assert 'templates were not there: average' in text
    assert 'Processor time' in text
    assert 'tools/evidence.py cost' in text
    cost_page.draw(dict(natural=FOUND), tmp_path / 'cost.png')
    assert np.asarray(Image.open(tmp_path / 'cost.png')).std() > 0


def test_the_extrapolations_page_shows_all_that_enters():
    values = [carry.Assumption(k, v, v, 's', 'here', True) for k, v in VALUES.items()]
    text = carry_page.page(
        [replace(RECIPE, key='byol', name='BYOL'), RECIPE], values, ['A note.'], 'Said so.'
    )
    for name in VALUES:
        assert f'| `{name}` |' in text
    assert '| R2O | ' in text
    assert '| 50 | 10.0 |' in text
    assert text.endswith('Said so.\n')
    assert 'computed in each of 2 epochs' in text
    assert '\nA note.\n' in text


def test_steps_of_a_log(tmp_path):
    """After the warm-up, the middle one; a line in writing is not read."""
    folder = tmp_path / 'run' / 'vis_data'
    folder.mkdir(parents=True)
    lines = [json.dumps(dict(time=9.0 if i < 8 else i, data_time=1.0, step=i)) for i in range(13)]
    (folder / 'scalars.json').write_text('\n'.join([*lines, '{"time": 1., "data_ti']))
    records = cost_scaling._records(tmp_path, 0)
    assert len(records) == 13
    assert cost_scaling.summarise(records) == dict(step=10, loading=1)


def test_mistakes_of_the_command(tmp_path, capsys):
    natural, xrays = tmp_path / 'imagenet_sample', tmp_path / 'jsrt'
    natural.mkdir()
    start = ['--natural', str(tmp_path), '--xrays', str(tmp_path), '--out', str(tmp_path / 'o')]
    for more, words in (
        (['--steps', 'carry'], f'there is no folder {xrays}'),
        (['--steps', 'carry'], 'needs the steps natural, xrays, inputs first'),
        (['--rounds', '1'], '--rounds must be at least 2'),
        (['--steps', 'cary'], 'invalid choice'),
    ):
        with pytest.raises(SystemExit) as error:
            cost_tool.main([*start, *more])
        assert error.value.code == 2
        assert words in capsys.readouterr().err
        xrays.mkdir(exist_ok=True)


@pytest.mark.slow
def test_two_processes_add_a_gradient():
    assert 0 < cost_scaling.all_reduce_seconds(4 * 1000, rounds=3) < 5
