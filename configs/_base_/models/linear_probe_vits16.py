# One linear layer on the frozen CLS token of a ViT-S/16 for six findings.
data_preprocessor = dict(
    type='orl_mm.ProbeDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
model = dict(
    type='orl_mm.LinearProbe',
    num_classes=6,
    blocks=1,  # CLS after the last norm; DINO's evaluation of a ViT-S uses 4 blocks
    backbone=dict(
        type='VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        out_type='cls_token',
    ),
)
