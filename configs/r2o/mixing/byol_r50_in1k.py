# mmpretrain's own BYOL with components of this project: views, neck, optimizer, hooks.
#
# Paper:    arXiv 2006.07733; mmpretrain's byol_resnet50_16xb256-coslr-200e_in1k.py.
# Command:  tools/dist_train.sh configs/r2o/mixing/byol_r50_in1k.py 16
#           or mmpretrain's own tool, SITE-PACKAGES/mmpretrain/.mim/tools/train.py:
#           `custom_imports` registers the components.
# Expected: BYOL's result, since the components compute the same. Not yet run.
#
# The model remains mmpretrain's `BYOL`, which updates its target in loss():
# MomentumUpdateHook (update_target) and KMeansRefineHook (refiner) do not apply to it.
_base_ = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py'

custom_imports = dict(imports=['orl_mm'], allow_failed_imports=False)
work_dir = 'work_dirs/mixing_byol_r50_in1k'  # not that of the baseline

# Without masks the whole image is one region, which is BYOL's global average pooling.
model = dict(
    neck=dict(
        _delete_=True,
        type='orl_mm.MaskPoolNeck',
        projector=dict(
            type='orl_mm.RegionMLP',
            in_channels=2048,
            hid_channels=4096,
            out_channels=256,
            num_layers=2,
            with_bias=True,
            with_last_bn=False,
        ),
    )
)

# The stock view pipelines, unchanged. Their crop and flip are drawn and recorded by this transform.
_pipeline = [
    dict(type='orl_mm.SeedSample', seed=0),
    dict(type='orl_mm.LoadImage'),
    dict(
        type='orl_mm.MultiViewWithGeometry',
        num_views=[1, 1],
        transforms=[_base_.view_pipeline1, _base_.view_pipeline2],
    ),
    dict(type='PackInputs', algorithm_keys=('views',)),
]
train_dataloader = dict(
    dataset=dict(pipeline=_pipeline),
    # A new dict, because mmengine passes the inherited `_scope_` to the function as an argument.
    collate_fn=dict(_delete_=True, type='default_collate'),
)

# LARS without device synchronization, norms and biases excluded by type; a learning rate
# that starts at exactly 0 and is a closed form of the step.
optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='orl_mm.LARS', lr=4.8, momentum=0.9, weight_decay=1e-6, eta=1e-3),
    constructor='orl_mm.LARSConstructor',
)
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=10, by_epoch=True, convert_to_iter_based=True)
]
custom_hooks = [dict(type='orl_mm.SyncBatchNormHook'), dict(type='orl_mm.SetEpochHook')]
