# DetCon_B, ResNet-50, ImageNet-1k, 300 epochs, as reproduced in the thesis.
#
# Paper:    "Efficient Visual Pretraining with Contrastive Detection", arXiv 2103.10957; settings
#           of github.com/KKallidromitis/detcon-pytorch, config/train_imagenet_300.yaml.
# Command:  tools/dist_train.sh configs/baselines/detcon-b_r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. With fewer GPUs, add --auto-scale-lr.
#           Faster on GPUs with bfloat16: --precision bf16 --cfg-options channels_last=True.
# Expected: VOC 73.8 mIoU, Cityscapes 75.7 mIoU, COCO 40.5 box / 37.5 mask AP (the thesis,
#           tables 2.1 and 2.2). Not yet run.
# Data:     data/imagenet/train/<class>/*.JPEG. Compute the regions once (0.2 s per
#           image): tools/cache_superpixels.py --config configs/baselines/detcon-b_r50_in1k.py \
#           --out data/felzenszwalb, then --cfg-options
#           train_dataloader.dataset.pipeline.GenerateSuperpixels.cache=data/felzenszwalb
#
# Each setting, and differences from both implementations: projects/detcon/README.md.
_base_ = [
    '../_base_/models/detcon_r50.py',
    '../_base_/datasets/imagenet_detcon.py',
    '../_base_/schedules/lars_300e.py',
    '../_base_/default_runtime.py',
]

param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=3, by_epoch=True, convert_to_iter_based=True)
]
custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),  # masks are drawn in each step, identically after resuming
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.99, end_momentum=1.0),
]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
