# Attention of a pretrained ViT-S/16; the weights come from the checkpoint to test.
data_preprocessor = dict(
    type='ClsDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
model = dict(
    type='orl_mm.AttentionProbe',
    network='auto',  # the teacher of a DINO checkpoint; or 'student', or any prefix
    backbone=dict(
        type='VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        out_type='cls_token',
    ),
)
