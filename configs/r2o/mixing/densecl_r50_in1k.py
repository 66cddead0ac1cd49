# mmpretrain's own DenseCL with components of this project: views and hooks.
#
# Paper:    arXiv 2011.09157; mmpretrain's densecl_resnet50_8xb32-coslr-200e_in1k.py.
# Command:  tools/dist_train.sh configs/r2o/mixing/densecl_r50_in1k.py 8 --auto-scale-lr
#           or mmpretrain's own tool: `custom_imports` registers the components.
#           The learning rate is given for batch size 4096, as in all configs: DenseCL's 0.03 for
#           256 images (8 GPUs x 32) is 0.48.
# Expected: DenseCL's result, since the components compute the same. Not yet run.
#
# The neck remains DenseCL's, which needs the feature grid that MaskPoolNeck would pool. Its
# moving average is updated in loss(), so MomentumUpdateHook does not apply.
_base_ = 'mmpretrain::densecl/densecl_resnet50_8xb32-coslr-200e_in1k.py'

custom_imports = dict(imports=['orl_mm'], allow_failed_imports=False)
work_dir = 'work_dirs/mixing_densecl_r50_in1k'  # not that of the baseline

_pipeline = [
    dict(type='orl_mm.SeedSample', seed=0),
    dict(type='orl_mm.LoadImage'),
    dict(type='orl_mm.MultiViewWithGeometry', num_views=[2], transforms=[_base_.view_pipeline]),
    dict(type='PackInputs', algorithm_keys=('views',)),
]
train_dataloader = dict(
    dataset=dict(pipeline=_pipeline),
    # A new dict, because mmengine passes the inherited `_scope_` to the function as an argument.
    collate_fn=dict(_delete_=True, type='default_collate'),
)

optim_wrapper = dict(optimizer=dict(lr=0.03 * 4096 / 256))
auto_scale_lr = dict(base_batch_size=4096)
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=0, by_epoch=True, convert_to_iter_based=True)
]
custom_hooks = [dict(type='orl_mm.SyncBatchNormHook'), dict(type='orl_mm.SetEpochHook')]
