# DINO's student and teacher: ViT-S/16 (mmpretrain's deit-small: 384 wide, 12 layers, 6 heads)
# and a head of 65,536 weight-normalized prototypes.
model = dict(
    type='orl_mm.DINO',
    num_global_crops=2,
    backbone=dict(
        type='VisionTransformer',
        arch='deit-small',
        img_size=224,
        patch_size=16,
        drop_path_rate=0.1,  # of the student only
        out_type='cls_token',
        init_cfg=dict(type='orl_mm.ViTInit', std=0.02),
    ),
    head=dict(
        type='orl_mm.DINOHead',
        hid_channels=2048,
        bottleneck_channels=256,
        out_channels=65536,
        norm_last_layer=True,
    ),
    loss=dict(type='orl_mm.DINOLoss', student_temp=0.1, center_momentum=0.9),
)
