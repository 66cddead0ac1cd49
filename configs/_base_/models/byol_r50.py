# BYOL as mmpretrain has it: every argument that of its byol_resnet50_16xb256-coslr-200e_in1k.py.
#
# The loss is -2 cos in both directions, BYOL's 2 - 2 cos without its constant. The target is
# moved inside loss(), before it sees the views: with the weights that the last step left, hence
# after the step like R2O's.
model = dict(
    type='BYOL',
    base_momentum=0.01,  # mmpretrain writes 1 - m: m from 0.99 to 1 by cosine
    backbone=dict(
        type='ResNet',
        depth=50,
        norm_cfg=dict(type='SyncBN'),
        zero_init_residual=False),
    neck=dict(
        type='NonLinearNeck',  # its norm is SyncBN by default, here and in the predictor
        in_channels=2048,
        hid_channels=4096,
        out_channels=256,
        num_layers=2,
        with_bias=True,
        with_last_bn=False,
        with_avg_pool=True),
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
            with_avg_pool=False),
        loss=dict(type='CosineSimilarityLoss')))
