# PixPro, ResNet-50, ImageNet-1k, 400 epochs, with the settings of the authors' code.
#
# Paper:    "Propagate Yourself: Exploring Pixel-Level Consistency for Unsupervised Visual
#           Representation Learning", arXiv 2011.10043; settings of github.com/zdaxie/PixPro,
#           tools/pixpro_base_r50_400ep.sh.
# Command:  tools/dist_train.sh configs/baselines/pixpro_r50_in1k.py 8 --amp
#           8 GPUs x 128 images = batch 1024, half precision like the authors' apex O1. For other
#           batch sizes, add --auto-scale-lr.
#           In bfloat16, without a loss scaler: --precision bf16 --cfg-options channels_last=True.
# Expected: COCO 41.4 box AP, Cityscapes 77.2 mIoU (the thesis, tables 2.1 and 2.2, from the
#           paper; the authors' README says that the 41.4 was trained with an instance branch,
#           which their scripts and this config do not use). Not yet run.
# Data:     data/imagenet/train; any folder of images: train_dataloader.dataset.data_root=DIR.
#
# Differences of the authors' code from this config: projects/pixpro/README.md.
_base_ = [
    '../_base_/models/pixpro_r50.py',
    '../_base_/datasets/imagenet_byol.py',
    '../_base_/schedules/lars_300e.py',
    '../_base_/default_runtime.py',
]

# BYOL's views with the authors' filters: bilinear crops, Pillow's blur.
_blur = dict(type='GaussianBlur', magnitude_range=(0.1, 2.0), magnitude_std='inf')
_pipeline = _base_.train_pipeline
_pipeline[2].update(interpolation='bilinear')
_pipeline[2].transforms[0][2] = dict(_blur, prob=1.0)
_pipeline[2].transforms[1][2] = dict(_blur, prob=0.1)
train_dataloader = dict(batch_size=128, dataset=dict(pipeline=_pipeline))
del _blur

optim_wrapper = dict(optimizer=dict(lr=1.0 * 1024 / 256, weight_decay=1e-5))
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=5, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=400)
auto_scale_lr = dict(base_batch_size=1024)

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.99, end_momentum=1.0),
]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
