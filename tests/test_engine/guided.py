"""Small ViTs of several algorithms, and images with templates, for the guided-attention tests."""

import torch
from mmengine.runner import Runner
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from orl_mm.registry import MODELS

SIDE, PATCH, GRID, HEADS = 32, 8, 4, 3
PARTS = ('left', 'right')
ARCH = dict(embed_dims=12, num_layers=2, num_heads=HEADS, feedforward_channels=24)
VIT = dict(img_size=SIDE, patch_size=PATCH, arch=ARCH)


def dino(num_global_crops=2):
    mlp = dict(in_channels=12, out_channels=20, hid_channels=16, bottleneck_channels=8)
    return dict(
        type='orl_mm.DINO',
        backbone=dict(type='mmpretrain.VisionTransformer', **VIT),
        head=dict(type='orl_mm.DINOHead', **mlp),
        num_global_crops=num_global_crops,
        loss=dict(type='orl_mm.DINOLoss', out_channels=20),
    )


MLP = dict(type='mmpretrain.NonLinearNeck', hid_channels=16, out_channels=8, num_layers=2)


def mocov3():
    mlp = dict(MLP, with_bias=False, with_avg_pool=False)
    loss = dict(type='mmpretrain.CrossEntropyLoss', loss_weight=0.4)
    predictor = dict(mlp, in_channels=8)
    return dict(
        type='mmpretrain.MoCoV3',
        base_momentum=0.01,
        backbone=dict(type='mmpretrain.MoCoV3ViT', stop_grad_conv1=True, **VIT),
        neck=dict(mlp, in_channels=12),
        head=dict(type='mmpretrain.MoCoV3Head', predictor=predictor, loss=loss),
    )


def simclr():
    loss = dict(type='mmpretrain.CrossEntropyLoss')
    return dict(
        type='mmpretrain.SimCLR',
        backbone=dict(type='mmpretrain.VisionTransformer', **VIT),
        neck=dict(MLP, in_channels=12, with_avg_pool=False),
        head=dict(type='mmpretrain.ContrastiveHead', temperature=0.1, loss=loss),
    )


def build(config, seed=0):
    torch.manual_seed(seed)
    model = MODELS.build(config)
    model.init_weights()
    # Larger queries and keys, so that attention is not flat.
    with torch.no_grad():
        model.backbone.layers[-1].attn.qkv.weight.mul_(4)
    model.train()
    return model


def template(views=2, size=GRID, seed=0):
    """(V, 2, size, size): the left and the right half, moved a little per view."""
    generator = torch.Generator().manual_seed(seed)
    k = torch.zeros(views, 2, size, size)
    k[:, 0, :, : size // 2] = 1
    k[:, 1, :, size // 2 :] = 1
    return k * (torch.rand(views, 1, size, size, generator=generator) > 0.2)


class Guided(Dataset):
    """Fixed views with their templates."""

    metainfo = dict(classes=())

    def __init__(self, length=8, views=2, local=0, size=GRID):
        generator = torch.Generator().manual_seed(1)
        self.items = []
        for i in range(length):
            sides = [SIDE] * views + [SIDE // 2] * local
            inputs = [torch.randn(3, s, s, generator=generator) for s in sides]
            sample = DataSample()
            sample.set_field(template(views, size, seed=i), 'template')
            sample.set_field(PARTS, 'parts', field_type='metainfo')
            self.items.append(dict(inputs=inputs, data_samples=sample))

    def __len__(self):
        return len(self.items)

    def __getitem__(self, index):
        return self.items[index]

    def batch(self, n=4):
        items = self.items[:n]
        views = [torch.stack(v) for v in zip(*(item['inputs'] for item in items), strict=False)]
        return views, [item['data_samples'] for item in items]


def guided_runner(work_dir, model, hook, epochs=2, data=None, lr=1e-3, hooks=(), **kwargs):
    """Two iterations an epoch, a checkpoint after each epoch."""
    from .tiny import SAVE_AND_LOG, loader  # a script without a package also imports this file

    adamw = dict(type='AdamW', lr=lr, weight_decay=0.0)
    return Runner(
        model,
        str(work_dir),
        experiment_name=f'{work_dir}'.replace('/', '_'),
        train_dataloader=loader(data or Guided(), 4),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        optim_wrapper=dict(
            type='OptimWrapper', constructor='orl_mm.MatrixDecayConstructor', optimizer=adamw
        ),
        custom_hooks=[hook, *hooks],
        default_hooks=SAVE_AND_LOG,
        default_scope='mmpretrain',
        randomness=dict(seed=0),
        **kwargs,
    )
