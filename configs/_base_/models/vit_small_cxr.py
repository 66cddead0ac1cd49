# A narrow ViT for 2 cores: 112-pixel images and 8-pixel patches give the 14 x 14 grid of ViT-S/16.
backbone = dict(
    type='VisionTransformer',
    arch=dict(embed_dims=192, num_layers=4, num_heads=6, feedforward_channels=768),
    img_size=112,
    patch_size=8,
    out_type='cls_token',
)
