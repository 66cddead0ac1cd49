# BYOL's networks with pooling per region; all arguments have the thesis's values.
model = dict(
    type='orl_mm.R2O',
    target='momentum',
    target_update='after_step',
    views='separate',
    rows='valid',
    aligned=True,
    backbone=dict(type='ResNet', depth=50, norm_cfg=dict(type='SyncBN'), zero_init_residual=False),
    refiner=dict(
        type='orl_mm.KMeansRefiner',
        num_clusters=64,
        stage=2,  # C4, 14 x 14
        mask_size=56,
        downsample='area',
        min_area=0.0,
        cluster_empty=False,
        border='majority',
        update_running_stats=False,
        tol=1e-4,
    ),
    neck=dict(
        type='orl_mm.MaskPoolNeck',
        min_area=0.0,
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
        type='orl_mm.RegionPredictHead',
        symmetric='sum',
        loss=dict(type='orl_mm.RegionCosineLoss', average='image'),
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
