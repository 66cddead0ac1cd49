# mmpretrain's own BYOL with parts of this project: views, neck, optimiser, hooks.
#
# Paper:    arXiv 2006.07733; mmpretrain's byol_resnet50_16xb256-coslr-200e_in1k.py.
# Command:  tools/dist_train.sh configs/r2o/mixing/byol_r50_in1k.py 16
#           or mmpretrain's own tool, SITE-PACKAGES/mmpretrain/.mim/tools/train.py:
#           `custom_imports` is all that it needs.
# Expected: BYOL's result, as the parts compute the same. Here: not yet run.
#
# The model stays mmpretrain's `BYOL`, which moves its target inside loss():
# MomentumUpdateHook (update_target) and KMeansRefineHook (refiner) do not apply to it.
_base_ = 'mmpretrain::byol/byol_resnet50_16xb256-coslr-200e_in1k.py'

custom_imports = dict(imports=['orl_mm'], allow_failed_imports=False)
work_dir = 'work_dirs/mixing_byol_r50_in1k'  # the baseline of this name has the other one

# Without masks the whole image is the one region: BYOL's global average pooling.
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

# The stock view pipelines, unchanged: their crop and flip are drawn, and recorded, here.
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
    # mmengine passes the `_scope_` of an inherited function on to it; so a new dict.
    collate_fn=dict(_delete_=True, type='default_collate'),
)

# LARS without waits for the device, norms and biases excluded by their type; a rate
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
custom_hooks = [dict(type='orl_mm.PlainBNOnCPUHook'), dict(type='orl_mm.SetEpochHook')]
