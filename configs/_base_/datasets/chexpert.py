# Frontal X-rays of CheXpert, with two view pipelines: DINO's and that for chests (thesis 3.3).
#
# Any other image data set can be used, for example
# dataset=dict(type='orl_mm.ImageList', data_root=FOLDER, pipeline=...).
# Of a gray image, DINO's saturation, hue and grayscale change nothing.
_base_ = './imagenet_dino.py'

_load = [dict(type='orl_mm.SeedSample', seed=0), dict(type='orl_mm.LoadXray')]
train_pipeline = dino_pipeline = [*_load, *_base_.train_pipeline[2:]]

# The thesis's, after MoCo-CXR; global crops only, and no flip, since hearts have a side.
_chest_view = [
    dict(type='orl_mm.RandomRigidMotion', angle=10, angle_prob=0.5, shift=0.1, shift_prob=0.5),
    dict(
        type='RandomResizedCrop',
        scale=224,
        crop_ratio_range=(0.4, 1.0),
        interpolation='bicubic',
        backend='pillow',
    ),
    dict(type='RandomFlip', prob=0.0),
    dict(
        type='RandomApply',
        transforms=[dict(type='ColorJitter', brightness=0.3, contrast=0.3)],
        prob=0.8,
    ),
    dict(type='orl_mm.RandomSharpness', factor=(0.5, 2.0), prob=0.5),
]
chest_pipeline = [
    *_load,
    dict(
        type='orl_mm.MultiViewWithGeometry',
        num_views=[2],
        transforms=[_chest_view],
        template_size=14,  # 224 / 16, the patch grid
        backend='fast',
    ),
    dict(type='PackInputs'),
]

train_dataloader = dict(
    batch_size=28,
    dataset=dict(
        _delete_=True,
        type='orl_mm.CheXpert',
        data_root='{{$ORL_CXR:data}}/chexpert',
        ann_file='train.csv',
        classes=[],  # no labels
        pipeline=dino_pipeline,
    ),
)
