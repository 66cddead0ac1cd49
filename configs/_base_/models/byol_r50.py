# mmpretrain's BYOL with the arguments, except one, of its config for 200 epochs,
# byol_resnet50_16xb256-coslr-200e_in1k.py.
#
# The target is updated in loss() before its forward pass, towards the weights after the previous
# step, which is equivalent to R2O's update after the step. If max_iters is that of the run, its
# momentum is BYOL's, one step ahead on the cosine (1e-6 at most).
model = dict(
    type='orl_mm.BYOL',  # mmpretrain's, whose target is updated without waits for the GPU
    base_momentum=0.01,  # mmpretrain writes 1 - m: m from 0.99 to 1 by cosine
    backbone=dict(type='ResNet', depth=50, norm_cfg=dict(type='SyncBN'), zero_init_residual=False),
    neck=dict(
        type='NonLinearNeck',  # uses SyncBN by default, as does the predictor
        in_channels=2048,
        hid_channels=4096,
        out_channels=256,
        num_layers=2,
        with_bias=True,
        with_last_bn=False,
        with_avg_pool=True,
    ),
    head=dict(
        type='LatentPredictHead',
        predictor=dict(
            type='NonLinearNeck',
            in_channels=256,
            hid_channels=4096,
            out_channels=256,
            num_layers=2,
            with_bias=True,
            with_last_bn=False,
            with_avg_pool=False,
        ),
        # 2 - 2 cos in each direction; mmpretrain omits the constant 2.
        loss=dict(type='CosineSimilarityLoss', shift_factor=1.0),
    ),
)
