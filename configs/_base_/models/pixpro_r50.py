# PixPro: BYOL's projector on every cell of C5, the pixel propagation module as predictor.
model = dict(
    type='orl_mm.PixPro',
    pos_ratio=0.7,  # of the diagonal of a cell
    backbone=dict(type='ResNet', depth=50, norm_cfg=dict(type='SyncBN'), zero_init_residual=True),
    neck=dict(
        type='orl_mm.PixelMLP',  # uses SyncBN by default
        hid_channels=4096,
        out_channels=256,
        num_layers=2,
        with_bias=True,
        with_last_bn=False,
        with_last_bias=True,
    ),
    head=dict(type='orl_mm.PixelPropagationHead', power=2.0),
)
