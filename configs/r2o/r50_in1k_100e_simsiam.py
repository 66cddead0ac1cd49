# R2O on SimSiam: no target network; clusters the online encoder's features. 100 epochs.
#
# Paper:    chapter 2 of the thesis applied to arXiv 2011.10566 (SimSiam); networks, views and
#           optimizer of mmpretrain's simsiam_resnet50_8xb32-coslr-100e_in1k.py.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_100e_simsiam.py 8 --auto-scale-lr
#           The learning rate is given for batch size 4096, as in all configs: SimSiam's 0.05 for
#           256 images is 0.8. Its paper uses batch sizes 256 to 512: 8 GPUs x 32.
# Expected: not yet run.
_base_ = './r50_in1k_100e.py'

model = dict(
    target='stop-gradient',
    backbone=dict(zero_init_residual=True),
    neck=dict(
        projector=dict(
            hid_channels=2048,
            out_channels=2048,
            num_layers=3,
            with_bias=False,
            with_last_bn=True,
            with_last_bn_affine=False,
            with_last_bias=False,
        )
    ),
    head=dict(
        symmetric='mean',
        loss=dict(shift=0.0, scale=1.0),  # -cos
        predictor=dict(hid_channels=512, with_bias=False),
    ),
)

# MoCo v2's views, both with the same pipeline.
_photometry = [
    dict(
        type='RandomApply',
        transforms=[
            dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
        ],
        prob=0.8,
    ),
    dict(
        type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)
    ),
    dict(type='orl_mm.GaussianBlur', kernel_size=23, sigma=(0.1, 2.0), prob=0.5),
]
_pipeline = _base_.train_pipeline
_pipeline[3].update(
    num_views=[2], transforms=[_photometry], scale=(0.2, 1.0), interpolation='bilinear'
)
train_dataloader = dict(dataset=dict(pipeline=_pipeline))

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=0.05 * 4096 / 256, momentum=0.9, weight_decay=1e-4),
    paramwise_cfg=dict(custom_keys={'head.predictor': dict(fix_lr=True)}),
)
# SimSiam has no warm-up, and its predictor keeps a constant learning rate.
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=0, by_epoch=True, convert_to_iter_based=True)
]

# There is no target to update.
custom_hooks = [hook for hook in _base_.custom_hooks if 'MomentumUpdate' not in hook['type']]
