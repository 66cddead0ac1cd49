# R2O, ResNet-50, ImageNet-1k, 300 epochs, as the thesis describes it (chapter 2).
#
# Paper:    "Refine and Represent: Object-Level Representation Learning via Mask
#           Refinement", chapter 2 of the thesis; arXiv 2208.11821.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. With fewer GPUs, add --auto-scale-lr.
#           Faster on GPUs with bfloat16: --precision bf16 --cfg-options channels_last=True.
# Expected: VOC 74.3 mIoU, Cityscapes 75.6 mIoU, COCO 40.9 box / 37.8 mask AP (the
#           thesis, tables 2.1 and 2.2). Not yet run.
# Data:     data/imagenet/train/<class>/*.JPEG. Compute the superpixels once:
#           tools/cache_superpixels.py --config configs/r2o/r50_in1k.py --out data/superpixels
_base_ = [
    '../_base_/models/r2o_r50.py',
    '../_base_/datasets/imagenet_r2o.py',
    '../_base_/schedules/lars_300e.py',
    '../_base_/default_runtime.py',
]

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    # Updates the target once per optimizer step.
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.99, end_momentum=1.0),
    # The number of clusters K, by epoch.
    dict(type='orl_mm.KMeansRefineHook', schedule=dict(type='constant', values=[64])),
    dict(type='orl_mm.ObjectVisualizationHook', interval=1000, num_images=4),
]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
