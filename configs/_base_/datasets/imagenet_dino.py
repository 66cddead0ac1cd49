# DINO's multi-crop: two global crops of 224, eight local ones of 96.
#
# data_root may be an ImageNet layout or any folder of images.
data_preprocessor = dict(
    type='orl_mm.ViewDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    non_blocking=True,
)


def _view(size, area, blur, solarize):
    """One kind of crop: geometry first, then its distortions."""
    return [
        dict(
            type='RandomResizedCrop',
            scale=size,
            crop_ratio_range=area,
            interpolation='bicubic',
            backend='pillow',
        ),
        dict(type='RandomFlip', prob=0.5),
        dict(
            type='RandomApply',
            transforms=[
                dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
            ],
            prob=0.8,
        ),
        dict(
            type='RandomGrayscale',
            prob=0.2,
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.2989),
        ),
        dict(type='orl_mm.GaussianBlur', kernel_size=23, sigma=(0.1, 2.0), prob=blur),
        dict(type='Solarize', thr=128, prob=solarize),
    ]


train_pipeline = [
    dict(type='orl_mm.SeedSample', seed=0),
    dict(type='orl_mm.LoadImage'),
    dict(
        type='orl_mm.MultiViewWithGeometry',
        num_views=[1, 1, 8],
        transforms=[
            _view(224, (0.4, 1.0), 1.0, 0.0),
            _view(224, (0.4, 1.0), 0.1, 0.2),
            _view(96, (0.05, 0.4), 0.5, 0.0),
        ],
        backend='fast',  # 'pillow': pixels as torchvision computes them
    ),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=64,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='orl_mm.ImageList', data_root='data/imagenet/train', pipeline=train_pipeline),
)
del _view
