# Frontal X-rays of CheXpert, with two view pipelines: DINO's and that for chests (thesis 3.3).
#
# Any other image data set can be used, for example
# dataset=dict(type='orl_mm.ImageList', data_root=FOLDER, pipeline=...).
data_preprocessor = dict(
    type='orl_mm.ViewDataPreprocessor',
    mean=[123.675, 116.28, 103.53],  # ImageNet's, as for the initial weights
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
    non_blocking=True,
)


def _crop(size, area):
    return dict(
        type='RandomResizedCrop',
        scale=size,
        crop_ratio_range=area,
        interpolation='bicubic',
        backend='pillow',
    )


def _dino_view(size, area, blur, solarize):
    """DINO's own: of a grey image, saturation, hue and greying change nothing."""
    return [
        _crop(size, area),
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


def _chest_view(size, area):
    """The thesis's, after MoCo-CXR; no flip, since hearts have a side."""
    return [
        dict(type='orl_mm.RandomRigidMotion', angle=10, angle_prob=0.5, shift=0.1, shift_prob=0.5),
        _crop(size, area),
        dict(type='RandomFlip', prob=0.0),
        dict(
            type='RandomApply',
            transforms=[dict(type='ColorJitter', brightness=0.3, contrast=0.3)],
            prob=0.8,
        ),
        dict(type='orl_mm.RandomSharpness', factor=(0.5, 2.0), prob=0.5),
    ]


_load = [dict(type='orl_mm.SeedSample', seed=0), dict(type='orl_mm.LoadXray')]

dino_pipeline = [
    *_load,
    dict(
        type='orl_mm.MultiViewWithGeometry',
        num_views=[1, 1, 8],
        transforms=[
            _dino_view(224, (0.4, 1.0), 1.0, 0.0),
            _dino_view(224, (0.4, 1.0), 0.1, 0.2),
            _dino_view(96, (0.05, 0.4), 0.5, 0.0),
        ],
        backend='fast',  # 'pillow': pixels as torchvision computes them
    ),
    dict(type='PackInputs'),
]
chest_pipeline = [
    *_load,
    dict(
        type='orl_mm.MultiViewWithGeometry',
        num_views=[2],  # global crops only
        transforms=[_chest_view(224, (0.4, 1.0))],
        template_size=14,  # 224 / 16, the patch grid
        backend='fast',
    ),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=28,
    num_workers=8,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='orl_mm.CheXpert',
        data_root='{{$ORL_CXR:data}}/chexpert',
        ann_file='train.csv',
        classes=[],  # no labels
        pipeline=dino_pipeline,
    ),
)
del _crop, _dino_view, _chest_view, _load
