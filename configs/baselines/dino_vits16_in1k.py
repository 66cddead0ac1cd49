# DINO, ViT-S/16, ImageNet-1k, 100 epochs, multi-crop: the defaults of the public code.
#
# Paper:    "Emerging Properties in Self-Supervised Vision Transformers", arXiv 2104.14294;
#           settings of main_dino.py of github.com/facebookresearch/dino.
# Command:  tools/dist_train.sh configs/baselines/dino_vits16_in1k.py 8 --amp
#           8 GPUs x 64 images = batch 512. For other batch sizes, add --auto-scale-lr.
#           In bfloat16, without a loss scaler: --precision bf16.
# Expected: 69.3 k-NN and 74.0 linear top-1 (its README, "Vanilla DINO training").
#           Not yet run.
# Data:     data/imagenet/train/<class>/*.JPEG.
_base_ = [
    '../_base_/models/dino_vits16.py',
    '../_base_/datasets/imagenet_dino.py',
    '../_base_/schedules/adamw_dino_100e.py',
    '../_base_/default_runtime.py',
]

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),  # stochastic depth, identical after resuming
    # Updates the teacher once per optimizer step.
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.996, end_momentum=1.0),
    # Better according to the public README:
    # teacher_temp=dict(values=[0.07], warmup=30, warmup_start=0.04, inclusive=True).
    dict(type='orl_mm.ScheduleHook', schedules=dict(teacher_temp=dict(values=[0.04]))),
    dict(type='orl_mm.FreezeLastLayerHook', epochs=1),
    dict(type='orl_mm.ClipEachGradHook', max_norm=3.0),
]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
