# BYOL, ResNet-50, ImageNet-1k, 300 epochs: mmpretrain's algorithm on R2O's views and schedule.
#
# Paper:    "Bootstrap Your Own Latent", arXiv 2006.07733; its recipe for 300 epochs.
# Command:  tools/dist_train.sh configs/baselines/byol_r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. With fewer GPUs, add --auto-scale-lr. Do not
#           accumulate gradients, because the target is updated in every forward pass.
#           Faster on GPUs with bfloat16: --precision bf16 --cfg-options channels_last=True.
# Expected: VOC 73.1 mIoU, Cityscapes 75.2 mIoU, COCO 40.6 box / 37.5 mask AP (the thesis, tables
#           2.1 and 2.2). Not yet run.
# Data:     data/imagenet/train; any folder of images: train_dataloader.dataset.data_root=DIR.
#
# It differs from R2O (configs/r2o/r50_in1k.py) only in the model: views, optimizer, learning rate,
# warm-up, target momentum and epochs are the same. The last layers have no bias, as in
# the paper's code and in mmpretrain; R2O's have one.
_base_ = [
    '../_base_/models/byol_r50.py',
    '../_base_/datasets/imagenet_byol.py',
    '../_base_/schedules/lars_300e.py',
    '../_base_/default_runtime.py',
]

custom_hooks = [dict(type='orl_mm.SyncBatchNormHook'), dict(type='orl_mm.SetEpochHook')]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
