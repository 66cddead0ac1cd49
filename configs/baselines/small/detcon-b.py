# DetCon_B at the size of configs/r2o/small/r2o.py: same images, views, encoder and steps.
#
# Paper:    arXiv 2103.10957: a row of the small-scale table 2.2. Settings of the reproduction.
# Command:  ORL_NATURAL=DIR tools/train.py configs/baselines/small/detcon-b.py     (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
_base_ = [
    '../../_base_/models/detcon_r50.py',
    '../../_base_/datasets/natural_small.py',
    '../../_base_/schedules/adamw_natural_small.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(depth=18, stem_channels=16, base_channels=16, strides=(1, 2, 2, 1)),
    neck=dict(projector=dict(hid_channels=512, out_channels=128)),
    head=dict(predictor=dict(hid_channels=512)),
)

_pipeline = _base_.train_pipeline
_pipeline[2] = dict(
    type='orl_mm.GenerateSuperpixels',
    method='felzenszwalb',
    scale=1000,
    sigma=0.8,
    min_size=1000,
    size=448,
    keep_image=False,
)
train_dataloader = dict(dataset=dict(pipeline=_pipeline))

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.99, end_momentum=1.0),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=2, max_keep_ckpts=-1))
