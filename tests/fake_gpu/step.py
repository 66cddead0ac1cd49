"""Run training steps of a config on a GPU that does not exist, and count what they ask of it.

    python tests/fake_gpu/step.py configs/r2o/r50_in1k.py --world 128 --dtype bfloat16 \
        --channels-last

A whole ``train_step`` (forward, backward, optimizer) runs on tensors that say ``cuda``: shapes,
dispatch and checks of devices are as on a GPU, no kernel computes and no value exists. With
``--world N`` it is one of N ranks, whose collectives do nothing. Each launch costs about 6 us of
the host; a wait drains the device's queue.
"""

import load  # noqa: F401  (before torch)

# isort: split
import argparse
import json
import time
from pathlib import Path
from types import SimpleNamespace

import mmengine.dist.dist
import mmengine.optim.optimizer.amp_optimizer_wrapper
import mmengine.runner.amp
import torch
import torch.distributed as dist
from mmengine.config import Config, DictAction
from mmengine.hooks import RuntimeInfoHook
from mmengine.logging import MessageHub
from mmengine.model import convert_sync_batchnorm, revert_sync_batchnorm
from mmengine.optim import build_optim_wrapper
from mmengine.registry import MODELS, init_default_scope
from mmpretrain.structures import DataSample
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.testing._internal.distributed.fake_pg import FakeStore
from values import kmeans, patch_values
from watch import Event, Watch, patch_torch

import orl_mm  # noqa: F401  (registers every part)
from orl_mm.engine.hooks import AttentionRegHook
from orl_mm.engine.message_hub import DeferredMessageHub
from orl_mm.models.refiners import kmeans_refiner
from orl_mm.models.selfsup import r2o
from orl_mm.models.utils.sync_batch_norm import use_weighted_sync_batch_norm

ROOT = Path(__file__).resolve().parents[2]
R2O_REGIONS = [
    (kmeans_refiner, 'fit_kmeans', 'Lloyd'),
    (kmeans.KMeansSolver, 'seed', 'k-means++'),
    (r2o, 'crop_masks', 'masks and pairs'),
    (r2o, 'RegionPairs', 'masks and pairs'),
]


def patch_mmengine() -> None:
    """Let mmengine see a GPU, and collectives of the fake backend run on it."""
    patch_torch()
    mmengine.dist.dist.get_comm_device = lambda group=None: torch.device('cuda')
    mmengine.runner.amp.get_device = lambda: 'cuda'
    mmengine.optim.optimizer.amp_optimizer_wrapper.is_cuda_available = lambda: True
    torch.__future__.set_overwrite_module_params_on_conversion(True)


def build_model(cfg: Config, synced: bool, channels_last: bool):
    """The model without weights from files, in training mode."""
    init_default_scope(cfg.get('default_scope', 'mmpretrain'))
    settings = cfg.model.copy()
    settings.setdefault('data_preprocessor', cfg.get('data_preprocessor'))
    for part in [settings, *settings.values()]:
        if isinstance(part, dict) and 'Pretrained' in str((part.get('init_cfg') or {}).get('type')):
            del part['init_cfg']
    model = MODELS.build(settings).train()
    if synced:
        model = use_weighted_sync_batch_norm(convert_sync_batchnorm(model))
    else:
        model = revert_sync_batchnorm(model)
    return model.to(memory_format=torch.channels_last) if channels_last else model


def make_batch(cfg: Config, batch_size: int) -> dict:
    """A collated batch in pinned memory, as a loader gives it."""
    name = cfg.model.type.split('.')[-1]
    sizes = [(224, 224)] * (3 if name == 'R2O' else 2)
    if name == 'DINO':
        crops = next(t.num_views for t in cfg.train_pipeline if 'num_views' in t)
        sizes += [(96, 96)] * (sum(crops) - 2)
    if name == 'InfoMin':
        sizes += [(9 * 64, 64)]
    sample = DataSample()
    sample.set_field(torch.rand(2, 5), 'views')
    sample.set_field((torch.arange(224 * 224).view(224, 224) // 502).byte(), 'regions')
    sample.set_field(100, 'num_regions')
    sample.set_field(torch.rand(2, 3, 14, 14), 'template')
    sample.set_metainfo(dict(parts=('left_lung', 'right_lung', 'heart')))
    views = [torch.zeros(batch_size, 3, *size, dtype=torch.uint8).pin_memory() for size in sizes]
    return dict(inputs=views, data_samples=[sample] * batch_size)


def count(
    cfg: Config,
    world: int = 1,
    dtype: str | None = None,
    channels_last: bool = False,
    batch_size: int = 32,
    steps: int = 1,
    graph: bool = False,
) -> Watch:
    """Counts of the last of some training steps.

    Args:
        cfg (Config): Of a pretraining run.
        world (int): Ranks; above 1 batch norms are synchronized.
        dtype (str, optional): ``'float16'`` or ``'bfloat16'`` of mixed precision.
        channels_last (bool): Layout of the weights.
        batch_size (int): Images of a rank.
        steps (int): The first step also builds what later ones reuse.
        graph (bool): Replay R2O's K-means, as its second step does on a GPU.
    """
    if world > 1:
        dist.init_process_group('fake', rank=0, world_size=world, store=FakeStore())
    model, watch = build_model(cfg, world > 1, channels_last), Watch()
    wrapper = dict(cfg.optim_wrapper)
    if dtype == 'bfloat16':
        wrapper.update(type='orl_mm.BFloat16OptimWrapper')
    elif dtype is not None:
        wrapper.update(type='AmpOptimWrapper', loss_scale='dynamic')
    batches = [make_batch(cfg, batch_size) for _ in range(steps)]
    with FakeTensorMode(allow_non_fake_inputs=True):
        model.to('cuda')
        model.data_preprocessor._device = torch.device('cuda')
        optimizer = build_optim_wrapper(model, wrapper)
        runner = SimpleNamespace(model=model, optim_wrapper=optimizer)
        name = f'stand-in {time.time_ns()}'
        hub = MessageHub.get_instance(name, runtime_info=dict(max_iters=100))
        runner.message_hub = DeferredMessageHub.take_over(hub)
        hooks = [AttentionRegHook()] if 'AttentionReg' in str(cfg.get('custom_hooks')) else []
        for hook in hooks:
            hook.before_train(runner)
            hook.strengths, hook._log, hook._checked = (1e-3, 1e-3, 0.0), False, True
        watch.within(model.data_preprocessor, 'forward', 'pre-processing')
        watch.within(optimizer, 'update_params', 'backward and optimizer')
        if hasattr(model, 'refiner'):
            for owner, name, region in R2O_REGIONS:
                watch.within(owner, name, region)
            watch.within(model.refiner, 'refine', 'rest of the refiner')
            watch.within(model.refiner, '_features', 'C4 of x0')
            model.refiner.graphs.capture = watch.capture if graph else None
        for batch in batches:
            watch.clear()
            with watch:
                losses = model.train_step(batch, optimizer)
                RuntimeInfoHook().after_train_iter(runner, 1, batch, losses)
                if hasattr(model, 'update_target'):
                    model.update_target(0.99)
        for hook in hooks:
            hook.after_train(runner)
    if world > 1:
        dist.destroy_process_group()
    return watch


def main() -> None:
    """Count and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument('config', nargs='+')
    parser.add_argument('--world', type=int, nargs='+', default=[1], help='ranks')
    parser.add_argument('--dtype', choices=('float16', 'bfloat16'))
    parser.add_argument('--channels-last', action='store_true')
    parser.add_argument('--batch', type=int, default=32, help='images of a rank')
    parser.add_argument('--iters', type=int, default=16, help="iterations of Lloyd's algorithm")
    parser.add_argument('--steps', type=int, default=2, help='the last one is counted')
    parser.add_argument('--json', metavar='FILE', help='counts of the last config')
    parser.add_argument('--graph', action='store_true', help='replay K-means')
    parser.add_argument('--cfg-options', nargs='+', action=DictAction, default={})
    args = parser.parse_args()
    patch_mmengine()
    patch_values(args.iters)
    for path in args.config:
        for world in args.world:
            cfg = Config.fromfile(path)
            cfg.merge_from_dict(args.cfg_options)
            settings = args.dtype, args.channels_last, args.batch, args.steps, args.graph
            watch = count(cfg, world, *settings)
            print(f'===== {path}, {world} ranks\n{watch.report()}', flush=True)
            if args.json:
                counts = dict(operators=watch.operators, waits=watch.waits, copies=watch.copies)
                Path(args.json).write_text(json.dumps(dict(counts, events=Event.waits)))


if __name__ == '__main__':
    main()
