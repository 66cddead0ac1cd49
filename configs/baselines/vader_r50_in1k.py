# VADeR, ResNet-50, ImageNet-1k, 600 epochs starting from MoCo: contrast of matched pixels.
#
# Paper:    "Unsupervised Learning of Dense Visual Representations", arXiv 2011.05499. There is
#           no public code.
# Command:  tools/dist_train.sh configs/baselines/vader_r50_in1k.py 4 --cfg-options \
#               model.backbone.init_cfg.checkpoint=work_dirs/mocov1_r50_in1k/epoch_200.pth
#           4 GPUs x 32 images = batch 128. For other batch sizes, add --auto-scale-lr. The option
#           gives the checkpoint that initializes the encoder, any file PretrainedBackbone reads.
#           Faster on GPUs with bfloat16: --precision bf16 --cfg-options channels_last=True.
# Expected: COCO 39.2 box / 35.6 mask AP (the thesis, table 2.1, from the paper).
#           Not yet run.
# Data:     data/imagenet/train; any folder of images: train_dataloader.dataset.data_root=DIR.
#
# From the paper: encoder initialized with MoCo, FPN-like decoder, momentum copies of both, 32 pairs
# of pixels per image, 65,536 negatives, two views by geometric and photometric transforms. Comments
# mark all other settings as "own choice"; projects/vader/README.md says which of these we recall
# from the paper without having checked them.
_base_ = ['../_base_/datasets/imagenet_byol.py', '../_base_/default_runtime.py']

model = dict(
    type='orl_mm.VADeR',
    backbone=dict(
        type='ResNet',
        depth=50,
        out_indices=(0, 1, 2, 3),
        norm_cfg=dict(type='SyncBN'),  # own choice; instead of MoCo's shuffled batches
        zero_init_residual=False,
        init_cfg=dict(
            type='orl_mm.PretrainedBackbone', checkpoint='work_dirs/mocov1_r50_in1k/epoch_200.pth'
        ),
    ),
    neck=dict(  # own choice: widths and norm of panoptic FPN
        type='orl_mm.PyramidDecoder', pyramid_channels=256, out_channels=128, num_groups=32
    ),
    # Own choice: MoCo's temperature; the weight 10 suits the low learning rate of the encoder.
    head=dict(type='orl_mm.PixelContrastHead', temperature=0.07, loss_weight=10.0),
    num_pairs=32,
    queue_len=65536,
)

# Own choice: MoCo v1's color distortions, after a crop (0.2, 1) and a flip, bilinear.
_photometry = [
    dict(
        type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)
    ),
    dict(type='ColorJitter', brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4),
]
_pipeline = _base_.train_pipeline
_pipeline[2].update(
    num_views=[2], transforms=[_photometry], scale=(0.2, 1.0), interpolation='bilinear'
)
train_dataloader = dict(batch_size=32, dataset=dict(pipeline=_pipeline))
del _photometry

# Own choice: MoCo's SGD with a constant learning rate, 3e-3 for the decoder and 3e-7 for the
# pretrained encoder.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(type='SGD', lr=3e-3, momentum=0.9, weight_decay=1e-4),
    constructor='orl_mm.PartRateConstructor',
    paramwise_cfg=dict(lr_mult=dict(backbone=1e-4)),
)
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=600)  # thesis; own choice: batch size
auto_scale_lr = dict(base_batch_size=128, enable=False)

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),  # the drawn pixels
    # Own choice: MoCo's momentum, constant.
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.999, end_momentum=0.999),
]
# There is no parameter schedule.
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3, save_param_scheduler=False))
