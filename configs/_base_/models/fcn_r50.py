# FCN on a dilated ResNet-50 with output stride 16, as in R2O's public code. The stem is the plain
# one of pretraining (mmseg's stock FCN has the deep stem of ResNetV1c), so that all weights of R2O
# are loaded. num_classes, align_corners and auxiliary head are set by the config of the data set.
_norm = dict(type='SyncBN', requires_grad=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],  # RGB, as in pretraining
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,  # after normalization, so the mean color
        seg_pad_val=255,
    ),
    backbone=dict(
        type='ResNet',
        depth=50,
        strides=(1, 2, 2, 1),
        dilations=(1, 1, 1, 2),
        contract_dilation=True,
        style='pytorch',
        norm_cfg=_norm,
        norm_eval=False,  # nothing is frozen, including batch norm
        frozen_stages=-1,
        init_cfg=dict(
            type='orl_mm.PretrainedBackbone', checkpoint='work_dirs/r50_in1k/epoch_300.pth'
        ),
    ),
    decode_head=dict(
        type='FCNHead',
        in_channels=2048,
        in_index=3,
        channels=256,
        num_convs=2,
        dilation=6,
        dropout_ratio=0.1,
        norm_cfg=_norm,
        # The mean over all pixels, including ignored ones, as in mmseg 0.x.
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=1.0),
    ),
    test_cfg=dict(mode='whole'),
)
del _norm
