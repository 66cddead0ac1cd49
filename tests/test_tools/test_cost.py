"""projects/cost and its benchmarks: formulas and counts by hand, a training held and timed."""

import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

ROOT = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(ROOT / folder) for folder in ('tools', 'projects/cost', 'tests')]
import cost as cost_page  # noqa: E402
import extrapolate as ex  # noqa: E402
from benchmarks import cost, full_size, timing  # noqa: E402
from small import write_photographs  # noqa: E402

RUN = ex.Run('R2O', 'r2o', 'r2o', 'r2o', 'superpixels')
COUNT = dict(epochs=2, batch=10, forward=4e8, backward=6e8, gradient_bytes=10**8, norm_calls=100)
INPUTS = dict(counts=dict(r2o=dict(COUNT, superpixels=30), medino=COUNT))
ASSUMED = (
    'gpu_tflops=1 kernel_us=5 norm_us=20 between_gb_s=1 within_gb_s=10 overlap=0.5 '
    'cores_per_gpu=4 core_speed=2 imagenet_images=1000 chexpert_images=90 r2o_gpus=4 '
    'medino_gpus=2 load_r2o=0.02 superpixels=0.036 guiding=3 kmeans_iterations=6 hop_us=0 '
    'kmeans_launches=400 iteration_launches=100'
)
VALUES = {name: float(value) for name, value in (word.split('=') for word in ASSUMED.split())}


def test_ring_all_reduce():
    assert ex.ring_seconds(4e9, 4, 2.0) == pytest.approx(2 * 3 / 4 * 4 / 2)
    assert ex.ring_seconds(4e9, 1, 2.0, 5.0) == 0
    # 100 MB are 4 buckets of 25 MiB, each 2 x 3 hops of 10 us.
    assert ex.ring_seconds(1e8, 4, 2.0, 10.0) == pytest.approx(0.075 + 24 * 10e-6)


def test_kmeans_by_hand():
    """K = 3: one center, two more with 3 trials each, then 1 + 2 x 2 products with 3 rows."""
    assert ex.kmeans_flops(100, 2, dims=8, k=3) == 2 * 100 * 8 * (1 + 2 * 3 + 3 * 5)


def test_run_by_hand():
    """25 batches of 10 in an epoch of 1000 images over 4."""
    found = ex.extrapolate(RUN, INPUTS, VALUES)
    networks, kmeans, norms, ring, loading = found['terms']
    assert networks == pytest.approx(10 * 1e9 / 1e12)
    assert kmeans == pytest.approx(ex.kmeans_flops(300, 6.0) / 1e12 + 1000 * 5e-6)
    assert (norms, ring) == pytest.approx((100 * 20e-6, 0.5 * 2 * 3 / 4 * 1e8 / 1e9))
    assert loading == pytest.approx(10 * 0.02 / 2 / 4)
    step = networks + kmeans + norms + ring
    assert found['steps'] == 2 * 25
    assert found['limit'] == 'all-reduce'
    expected = dict(
        step=step,
        hours=50 * step / 3600,
        gpu_hours=4 * 50 * step / 3600,
        load_hours=2 * 1000 * 0.02 / 2 / 3600,
        cores=4 * 0.025 / step,
        once_hours=1000 * 0.036 / 2 / 3600,
    )
    assert {name: found[name] for name in expected} == pytest.approx(expected)
    # A slow loader limits the step.
    found = ex.extrapolate(RUN, INPUTS, dict(VALUES, load_r2o=2.0))
    assert found['limit'] == 'loading'
    assert found['step'] == pytest.approx(10 * 2.0 / 2 / 4)


def test_medino_stays_in_a_node_and_is_guided():
    run = ex.Run('MeDINO', 'medino', 'medino', 'r2o', guided=True)
    found = ex.extrapolate(run, INPUTS, VALUES)
    assert found['terms'][0] == pytest.approx(3 * 0.01)
    assert found['terms'][1] == 0
    assert found['terms'][3] == pytest.approx(0.5 * 2 * 1 / 2 * 1e8 / 10e9)
    assert found['steps'] == 2 * 4  # 90 over 2, in batches of 10


@pytest.fixture(scope='module')
def stored():
    return cost_page.json.loads((ROOT / 'projects/cost/cost.json').read_text())


def test_stored_pages_follow_from_the_stored_measurements(stored, tmp_path):
    folder = ROOT / 'projects' / 'cost'
    cost_page.main(['--out', str(tmp_path)])
    for name in ('extrapolation.md', 'cost.md', 'cost.json'):
        assert (tmp_path / name).read_text() == (folder / name).read_text()
    assert (tmp_path / 'cost.png').stat().st_size > 10_000


def test_best_is_shorter_than_worst_for_each_assumption(stored):
    """By the sum of all causes, since the longer of step and loader hides the other."""
    rows = ex.read_assumptions(stored, [])

    def seconds(run, worse=None):
        values = {name: row['worst' if name == worse else 'best'] for name, row in rows.items()}
        return sum(ex.extrapolate(run, stored['inputs'], values)['terms'])

    for name, row in rows.items():
        if row['best'] != row['worst']:
            longer = [seconds(run, name) - seconds(run) for run in ex.RUNS]
            assert max(longer) > 0 <= min(longer), name


def test_assumptions_can_be_changed(stored):
    rows = ex.read_assumptions(stored, ['gpu_tflops=60', 'load_r2o=5..7'])
    assert (rows['gpu_tflops']['best'], rows['gpu_tflops']['worst']) == (60, 60)
    assert (rows['load_r2o']['best'], rows['load_r2o']['worst']) == (5, 7)
    assert not rows['load_r2o']['measured']
    assert rows['load_byol']['measured']
    assert rows['load_byol']['best'] == stored['inputs']['load']['byol']


@pytest.mark.parametrize(
    ('change', 'words'),
    [
        ('tflops=3', "no assumption 'tflops'; there are gpu_tflops, kernel_us"),
        *((f'gpu_tflops{text}', 'NAME=BEST') for text in ('', '=', '=fast', '=1..2..3')),
        *((f'gpu_tflops={text}', 'must be positive') for text in ('0', '-1', 'nan', '2..0')),
        ('overlap=1.5', r'must be in \[0, 1\]'),
    ],
)
def test_wrong_assumptions(stored, change, words):
    with pytest.raises(ValueError, match=words.replace('NAME', 'gpu_tflops')):
        ex.read_assumptions(stored, [change])


class Net(nn.Module):
    """A convolution, a batch norm and a linear layer."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.fc = nn.Linear(4, 5)

    def forward(self, x):
        return self.fc(self.norm(self.conv(x)).mean((2, 3)))


def test_small_network_is_counted_as_by_hand():
    """No gradient for the image, so the convolution goes back once and the linear layer twice."""
    net, x = Net().train(), torch.randn(2, 3, 6, 6)

    def loss():
        with torch.no_grad():
            net(x)
        return net(x).sum()

    conv, fc = 2 * 2 * 6 * 6 * 4 * 3 * 9, 2 * 2 * 4 * 5
    assert full_size.count_step(loss, net) == dict(
        forward=2 * (conv + fc),
        backward=conv + 2 * fc,
        norm_calls=1 + 2,  # without a gradient, and with one
        gradient_bytes=4 * (4 * 27 + 8 + 4 * 5 + 5),
    )


def test_attention_is_counted():
    """Two products of (8 x 4)(4 x 8) and (8 x 8)(8 x 4), each 2 x 256 a head and image."""
    x = torch.randn(1, 3, 8, 4, requires_grad=True)
    found = full_size.count_step(
        lambda: nn.functional.scaled_dot_product_attention(x, x, x).sum(), nn.Identity()
    )
    assert found['forward'] == 3 * 2 * (2 * 8 * 8 * 4)


@pytest.mark.parametrize('table', ['natural', 'xrays'])
def test_one_folder_of_images_is_enough(table, tmp_path, monkeypatch):
    """Each table needs its own images only; the pages need both."""

    def inputs(report, name, found, *folders):
        found.update(counts={name: 1})

    ratio = dict(byol=dict(value=2.0, low=1.0, high=3.0))
    row = dict(name='R2O', step=dict(ratio=ratio), load=dict(ratio=ratio))
    monkeypatch.setattr(cost, 'measure', lambda *args: dict(rows=dict(r2o=row)))
    monkeypatch.setattr(full_size, 'measure_inputs', inputs)
    for name in ('ORL_NATURAL', 'ORL_CXR'):
        monkeypatch.setenv(name, '')  # restored afterwards
    args = SimpleNamespace(device='cpu', clock='process', rounds=1, templates='t')
    args.natural = args.xrays = None
    with pytest.raises(SystemExit, match='give --natural DIR, --xrays DIR, or both'):
        cost.run(args)
    setattr(args, table, str(tmp_path))
    report = cost.run(args)
    assert report.details.keys() == {table, 'inputs'}
    assert report.details['inputs']['counts'] == {table: 1}
    assert [figure['value'] for figure in report.figures] == [2.0, 2.0]
    report.write(str(tmp_path / 'found.json'))
    with pytest.raises(SystemExit, match='2'):
        cost_page.main(['--json', str(tmp_path / 'found.json'), '--out', str(tmp_path)])


def tiny(cfg):
    """Two images a batch, a narrow network, 32 pixels: ``cost.measure(change=...)``."""
    cfg.train_dataloader.batch_size = 2
    cfg.train_dataloader.dataset.list_file = None
    for step in cfg.train_dataloader.dataset.pipeline:
        if step.type == 'orl_mm.MultiViewWithGeometry' and 'size' in step:
            step.size = 32
        if step.type == 'orl_mm.GenerateSuperpixels':
            step.size = 64
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    if cfg.model.type == 'orl_mm.R2O':
        cfg.model.update(grid=2)
        cfg.model.refiner.update(mask_size=16)
        cfg.model.neck.projector.in_channels = 64
    else:
        cfg.model.neck.in_channels = 64


@pytest.fixture
def photographs(tmp_path, monkeypatch):
    monkeypatch.setenv('ORL_NATURAL', str(write_photographs(tmp_path / 'images', 12)))
    return tmp_path


def test_table_is_measured(photographs, monkeypatch):
    """Real runners, tiny: every number is there, ratios to itself are one."""
    references, methods = cost.TABLES['natural']
    methods = {key: methods[key] for key in ('byol', 'r2o')}
    monkeypatch.setitem(cost.TABLES, 'natural', (references, methods))
    report = timing.Report('cost', SimpleNamespace(device='cpu', clock='process'))
    found = cost.measure(report, 'natural', photographs / 'work', photographs, 3, tiny)
    byol, r2o = found['rows'].values()
    assert found['batch'] == 2
    for row in (byol, r2o):
        for what in ('step', 'load'):
            assert 0 < row[what]['low'] <= row[what]['seconds'] <= row[what]['high']
        assert row['peak_bytes'] > 0
    assert byol['step']['ratio']['byol'] == dict(value=1, low=1, high=1)
    ratio = r2o['step']['seconds'] / byol['step']['seconds']
    assert r2o['step']['ratio']['byol']['value'] == pytest.approx(ratio)
    assert 'load_anew' not in byol
    assert r2o['load_anew']['seconds'] > r2o['load']['seconds']  # SLIC is read from the cache
    # Weights in fp32 with AdamW's two moments, target, and no gradient.
    assert byol['held_bytes'] > 4 * 4 * 50_000
    assert 0 < found['kmeans']['kmeans'] < found['kmeans']['refine'] < 1
    assert found['kmeans']['points'] > 2
    assert found['kmeans']['iterations'] >= 1


def test_hooks_and_target_take_part(photographs):
    """A held step is a training step: the network moves, the target after it, K by its hook."""

    def change(cfg):
        tiny(cfg)
        end = cfg.train_cfg.max_epochs
        schedule = dict(type='linear', epochs=[0, end], values=[9, 3])
        cfg.custom_hooks[-1].schedule = schedule

    cfg = cost.read_config('configs/r2o/small/r2o.py', change)
    load = cost.Loader(cfg, 2)
    load()
    loop = cost.hold(cfg, 'held', photographs)
    loop.batches = load.batches
    model = loop.runner.model
    assert loop.epoch == cfg.train_cfg.max_epochs // 2
    target = [p.clone() for p in model.target.parameters()]
    before, held = loop.iter, cost.held_bytes(loop)
    for _ in range(3):
        loop()
    assert loop.iter == before + 3
    assert 3 < model.refiner.num_clusters < 9  # half-way between
    pairs = zip(target, model.target.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)
    trained = sum(p.numel() for p in model.parameters() if p.requires_grad)
    assert cost.held_bytes(loop) - held >= 2 * 4 * trained  # the optimizer's two moments
