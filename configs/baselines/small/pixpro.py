# PixPro at the size of configs/r2o/small/r2o.py: same images, views, encoder and steps.
#
# Paper:    arXiv 2011.10043: a row of the small-scale table 2.2.
# Command:  ORL_NATURAL=DIR tools/train.py configs/baselines/small/pixpro.py     (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
_base_ = [
    '../../_base_/models/pixpro_r50.py',
    '../../_base_/datasets/natural_small_views.py',
    '../../_base_/schedules/adamw_natural_small.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    # Unlike PixPro's recipe, residual branches do not start at zero, as in all other rows.
    backbone=dict(
        depth=18, stem_channels=16, base_channels=16, strides=(1, 2, 2, 1), zero_init_residual=False
    ),
    neck=dict(hid_channels=512, out_channels=128),
)

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.99, end_momentum=1.0),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=2, max_keep_ckpts=-1))
