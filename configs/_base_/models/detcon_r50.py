# DetCon_B on BYOL's networks, with the arguments of the reproduction (detcon-pytorch).
model = dict(
    type='orl_mm.DetCon',
    num_masks=16,
    target_draw='own',
    target_update='before_target_forward',
    views='joined',
    backbone=dict(type='ResNet', depth=50, norm_cfg=dict(type='SyncBN'), zero_init_residual=False),
    neck=dict(
        type='orl_mm.MaskPoolNeck',
        min_area=1.0,  # divide by max(area, 1); drawn masks have at least one cell
        projector=dict(
            type='orl_mm.RegionMLP',
            hid_channels=4096,
            out_channels=256,
            num_layers=2,
            with_bias=True,
            with_last_bn=False,
            with_last_bias=True,
        ),
    ),
    head=dict(
        type='orl_mm.DetConHead',
        loss=dict(type='orl_mm.DetConLoss', temperature=0.1),
        predictor=dict(
            type='orl_mm.RegionMLP',
            hid_channels=4096,
            num_layers=2,
            with_bias=True,
            with_last_bn=False,
            with_last_bias=True,
        ),
    ),
)
