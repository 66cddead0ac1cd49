# DINO around the narrow ViT, with 1,024 prototypes: 65,536 are too many for a few hundred images.
_base_ = ['./vit_small_cxr.py', './dino_vits16.py']

model = dict(
    backbone=dict(
        _delete_=True,
        **_base_.backbone,
        drop_path_rate=0.1,
        init_cfg=dict(type='orl_mm.ViTInit', std=0.02),
    ),
    head=dict(hid_channels=512, bottleneck_channels=128, out_channels=1024),
)
