# R2O on MoCo v3: contrasts each region with every other valid region of the batch. 100 epochs.
#
# Paper:    chapter 2 of the thesis applied to arXiv 2104.02057 (MoCo v3); networks, crops and
#           optimizer of mmpretrain's mocov3_resnet50_8xb512-amp-coslr-100e_in1k.py.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_100e_mocov3.py 128
# Expected: not yet run.
_base_ = './r50_in1k_100e.py'

model = dict(
    neck=dict(
        projector=dict(
            with_bias=False, with_last_bn=True, with_last_bn_affine=False, with_last_bias=False
        )
    ),
    head=dict(
        _delete_=True,
        type='orl_mm.RegionContrastHead',
        temperature=1.0,
        average='image',
        symmetric='sum',
        drop_same_cluster=False,  # True: regions of the same cluster are not negatives
        predictor=dict(
            type='orl_mm.RegionMLP',
            hid_channels=4096,
            num_layers=2,
            with_bias=False,
            with_last_bn=False,
            with_last_bias=False,
        ),
    ),
)

_pipeline = _base_.train_pipeline
_pipeline[3].update(scale=(0.2, 1.0), interpolation='bilinear')
train_dataloader = dict(dataset=dict(pipeline=_pipeline))

optim_wrapper = dict(type='AmpOptimWrapper', loss_scale='dynamic', optimizer=dict(lr=9.6))
