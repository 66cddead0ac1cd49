# mmpretrain's own DenseCL with parts of this project: views and hooks.
#
# Paper:    arXiv 2011.09157; mmpretrain's densecl_resnet50_8xb32-coslr-200e_in1k.py.
# Command:  tools/dist_train.sh configs/r2o/mixing/densecl_r50_in1k.py 8 --auto-scale-lr
#           or mmpretrain's own tool: `custom_imports` is all that it needs.
#           The rate is given for batch 4096 like everywhere here: DenseCL's 0.03 for
#           256 images (8 GPUs x 32) is 0.48.
# Expected: DenseCL's result, as the parts compute the same. Here: not yet run.
#
# The neck stays DenseCL's: it needs the grid of features that MaskPoolNeck pools. Its
# moving average lives inside loss(), so MomentumUpdateHook does not apply.
_base_ = 'mmpretrain::densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py'

custom_imports = dict(imports=['orl_mm'], allow_failed_imports=False)
work_dir = 'work_dirs/mixing_densecl_r50_in1k'  # the baseline of this name has the other one

_pipeline = [
    dict(type='orl_mm.SeedSample', seed=0),
    dict(type='orl_mm.LoadImage'),
    dict(type='orl_mm.MultiViewWithGeometry', num_views=[2], transforms=[_base_.view_pipeline]),
    dict(type='PackInputs', algorithm_keys=('views',)),
]
train_dataloader = dict(
    dataset=dict(pipeline=_pipeline),
    # mmengine passes the `_scope_` of an inherited function on to it; so a new dict.
    collate_fn=dict(_delete_=True, type='default_collate'),
)

optim_wrapper = dict(optimizer=dict(lr=0.03 * 4096 / 256))
auto_scale_lr = dict(base_batch_size=4096)
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=0, by_epoch=True, convert_to_iter_based=True)
]
custom_hooks = [dict(type='orl_mm.PlainBNOnCPUHook'), dict(type='orl_mm.SetEpochHook')]
