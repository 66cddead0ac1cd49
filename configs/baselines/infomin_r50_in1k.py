# InfoMin, ResNet-50, ImageNet-1k, 200 epochs: MoCo v2 with stronger views and PIRL's jigsaw branch.
#
# Paper:    "What Makes for Good Views for Contrastive Learning?", arXiv 2005.10243; settings of
#           github.com/HobbitLong/PyContrast, --method InfoMin --cosine (options/base_options.py,
#           datasets/util.py with --aug D). The thesis cites CMC, but its numbers
#           are InfoMin's.
# Command:  tools/dist_train.sh configs/baselines/infomin_r50_in1k.py 8
#           8 GPUs x 32 images = batch 256. For other batch sizes, add --auto-scale-lr.
#           Faster on GPUs with bfloat16: --precision bf16 --cfg-options channels_last=True.
# Expected: COCO 40.6 box / 36.7 mask AP, Cityscapes 75.6 mIoU (the thesis, tables 2.1 and 2.2,
#           from the papers). Not yet run.
# Data:     as mocov2_r50_in1k.py.
#
# Differences of the authors' code from this config: projects/infomin/README.md.
_base_ = './mocov2_r50_in1k.py'

data_preprocessor = dict(type='orl_mm.ViewDataPreprocessor', non_blocking=True)
model = dict(
    type='orl_mm.InfoMin',
    head=dict(temperature=0.15),
    jigsaw_neck=dict(
        type='orl_mm.JigsawNeck',
        crop_neck=dict(
            type='MoCoV2Neck',
            in_channels=2048,
            hid_channels=2048,
            out_channels=128,
            with_avg_pool=True,
        ),
        crop_channels=128,
        out_channels=128,
        num_crops=9,
    ),
    jigsaw_weight=0.5,
)

# Factors 0.1 + 1.8 * level / 10; mmpretrain adds 1 to the magnitude and would negate it at random.
_factor = dict(magnitude_range=(-0.9, 0.9), random_negative_prob=0.0)
_policies = [
    dict(type='AutoContrast'),
    dict(type='Equalize'),
    dict(type='Invert'),
    dict(type='Rotate', magnitude_range=(0, 30)),
    # The authors keep floor(4 * level / 10) bits; mmpretrain rounds up.
    dict(type='Posterize', magnitude_range=(-1 + 1e-6, 3 + 1e-6)),
    dict(type='Solarize', magnitude_range=(0, 256)),  # no effect at level 10
    dict(type='SolarizeAdd', magnitude_range=(0, 110)),
    dict(type='ColorTransform', **_factor),
    dict(type='Contrast', **_factor),
    dict(type='Brightness', **_factor),
    dict(type='Sharpness', **_factor),
    dict(type='Shear', magnitude_range=(0, 0.3), direction='horizontal'),
    dict(type='Shear', magnitude_range=(0, 0.3), direction='vertical'),
    dict(type='Translate', magnitude_range=(0, 0.45), direction='horizontal'),
    dict(type='Translate', magnitude_range=(0, 0.45), direction='vertical'),
]
view_pipeline = [
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(
        type='RandomApply',
        transforms=[
            dict(type='ColorJitter', brightness=0.8, contrast=0.8, saturation=0.8, hue=0.2)
        ],
        prob=0.8,
    ),
    dict(type='orl_mm.GaussianBlur', kernel_size=23, sigma=(0.1, 2.0), prob=0.5),
    dict(
        type='RandAugment',
        policies=_policies,
        num_policies=2,
        magnitude_level=10,
        magnitude_std=0.5,
        # ImageNet's mean, BGR.
        hparams=dict(pad_val=(104, 116, 124), interpolation='bilinear'),
    ),
    dict(
        type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)
    ),
]
jigsaw_pipeline = [
    dict(type='RandomResizedCrop', scale=255, crop_ratio_range=(0.6, 1.0), backend='pillow'),
    dict(type='RandomFlip', prob=0.5),
    dict(type='orl_mm.JigsawCrops', grid=3, crop_size=64),
]
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(num_views=[2, 1], transforms=[view_pipeline, jigsaw_pipeline])
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
del _factor, _policies

# From 0.03 to 0.03 * 0.1**3, where the authors' cosine ends.
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True, eta_min_ratio=1e-3)]
