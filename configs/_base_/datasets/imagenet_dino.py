# DINO's multi-crop: two global crops of 224, eight local ones of 96, with BYOL's distortions.
#
# data_root may be an ImageNet layout or any folder of images.
_base_ = './imagenet_r2o.py'

data_preprocessor = dict(type='orl_mm.ViewDataPreprocessor')
_jitter, _gray, _blur, _solarize = _base_.train_pipeline[3]['transforms'][0]


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
        _jitter,
        _gray,
        dict(_blur, prob=blur),
        dict(_solarize, prob=solarize),
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
train_dataloader = dict(batch_size=64, dataset=dict(pipeline=train_pipeline))
