# Two BYOL views, the whole image x0 and its superpixels.
#
# data_root may be an ImageNet layout or any folder of images; list_file is a
# text file of paths, classes_file a list of class folders to use.
data_preprocessor = dict(
    type='orl_mm.RegionDataPreprocessor',
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    non_blocking=True,
)


def _photometry(blur, solarize):
    """BYOL's distortions of one view, after the geometry was drawn."""
    return [
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
        type='orl_mm.GenerateSuperpixels', method='slic', num_segments=100, size=224, backend='fast'
    ),
    dict(
        type='orl_mm.MultiViewWithGeometry',
        num_views=[1, 1],
        transforms=[_photometry(1.0, 0.0), _photometry(0.1, 0.2)],
        size=224,
        scale=(0.08, 1.0),
        ratio=(3.0 / 4.0, 4.0 / 3.0),
        flip_prob=0.5,
        backend='fast',  # 'pillow': pixels as torchvision computes them
    ),
    dict(type='PackInputs', algorithm_keys=('views', 'regions', 'num_regions')),
]

train_dataloader = dict(
    batch_size=32,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(type='orl_mm.ImageList', data_root='data/imagenet/train', pipeline=train_pipeline),
)
del _photometry
