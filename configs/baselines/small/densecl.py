# DenseCL at the size of configs/r2o/small/r2o.py: same images, views, encoder and steps.
#
# Paper:    arXiv 2011.09157: a row of the small-scale table 2.2.
# Command:  ORL_NATURAL=DIR tools/train.py configs/baselines/small/densecl.py     (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
#
# The queue holds 2,048 keys (two epochs of images) and the momentum is smaller, because 65,536 and
# 0.999 suit a million images.
_base_ = [
    '../../_base_/datasets/natural_small_views.py',
    '../../_base_/schedules/adamw_natural_small.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    type='DenseCL',
    queue_len=2048,
    feat_dim=128,
    momentum=0.01,
    loss_lambda=0.5,
    backbone=dict(
        type='ResNet',
        depth=18,
        stem_channels=16,
        base_channels=16,
        strides=(1, 2, 2, 1),
        norm_cfg=dict(type='BN'),
        zero_init_residual=False,
    ),
    neck=dict(
        type='DenseCLNeck', in_channels=128, hid_channels=512, out_channels=128, num_grid=None
    ),
    head=dict(type='ContrastiveHead', loss=dict(type='CrossEntropyLoss'), temperature=0.2),
)
find_unused_parameters = True

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=2, max_keep_ckpts=-1))
