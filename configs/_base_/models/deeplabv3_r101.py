# DeepLabv3 on a ResNet-101 with output stride 8, as in mmseg's deeplabv3_r101-d8. Unlike
# mmseg's ResNetV1c, it has the plain stem of torchvision's weights. Three parts and background.
_norm = dict(type='SyncBN', requires_grad=True)
_loss = dict(type='CrossEntropyLoss', avg_non_ignore=True)
model = dict(
    type='EncoderDecoder',
    data_preprocessor=dict(
        type='SegDataPreProcessor',
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_val=0,
        seg_pad_val=255,
        size=(256, 256),
    ),
    backbone=dict(
        type='ResNet',
        depth=101,
        strides=(1, 2, 1, 1),
        dilations=(1, 1, 2, 4),
        contract_dilation=True,
        norm_cfg=_norm,
    ),
    decode_head=dict(
        type='ASPPHead',
        in_channels=2048,
        in_index=3,
        channels=512,
        dilations=(1, 12, 24, 36),
        dropout_ratio=0.1,
        num_classes=4,
        norm_cfg=_norm,
        align_corners=False,
        loss_decode=dict(_loss, loss_weight=1.0),
    ),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=1024,
        in_index=2,
        channels=256,
        num_convs=1,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=4,
        norm_cfg=_norm,
        align_corners=False,
        loss_decode=dict(_loss, loss_weight=0.4),
    ),
    test_cfg=dict(mode='whole'),
)
del _norm, _loss
