# MoCo v1, ResNet-50, ImageNet-1k, 200 epochs, with mmpretrain's MoCo, which has no config for it.
#
# Paper:    "Momentum Contrast for Unsupervised Visual Representation Learning", arXiv 1911.05722;
#           defaults of main_moco.py of github.com/facebookresearch/moco, which are also those of
#           mmselfsup's mocov1_resnet50_8xb32-steplr-200e_in1k.py.
# Command:  tools/dist_train.sh configs/baselines/mocov1_r50_in1k.py 8
#           8 GPUs x 32 images = batch 256. For other batch sizes, add --auto-scale-lr; the queue
#           length 65,536 must be a multiple of the batch size over all GPUs.
# Expected: COCO 38.5 box / 35.1 mask AP (the thesis, table 2.1). Not yet run.
# Data:     as mocov2_r50_in1k.py.
_base_ = './mocov2_r50_in1k.py'

model = dict(
    neck=dict(
        _delete_=True,
        type='LinearNeck',
        in_channels=2048,
        out_channels=128,
        gap_dim=2,
        norm_cfg=None,
    ),  # MoCo has no norm, unlike LinearNeck by default
    head=dict(temperature=0.07),
)

# InstDisc's color distortions: grayscale first, jitter in every view, hue by 0.4, no blur.
view_pipeline = [
    dict(type='RandomResizedCrop', scale=224, crop_ratio_range=(0.2, 1.0), backend='pillow'),
    dict(
        type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)
    ),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4),
    dict(type='RandomFlip', prob=0.5),
]
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(transforms=[view_pipeline])
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[120, 160], gamma=0.1)]
