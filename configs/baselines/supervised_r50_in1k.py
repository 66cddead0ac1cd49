# Supervised, ResNet-50, ImageNet-1k, 100 epochs: mmpretrain's config, resumable loading.
#
# Paper:    "Deep Residual Learning for Image Recognition", arXiv 1512.03385; settings of
#           mmpretrain's resnet50_8xb32_in1k.py, unchanged.
# Command:  tools/dist_train.sh configs/baselines/supervised_r50_in1k.py 8
#           8 GPUs x 32 images = batch 256. For other batch sizes, add --auto-scale-lr.
#           Instead of training, torchvision's released ResNet50_Weights.IMAGENET1K_V1 (90 epochs,
#           76.13 top-1) can be converted and used for every transfer:
#           tools/convert_weights.py resnet50-0676ba61.pth pretrained/supervised_r50_in1k.pth
# Expected: VOC 67.7 mIoU, Cityscapes 73.7 mIoU, COCO 39.6 box / 35.6 mask AP (the thesis, tables
#           2.1 and 2.2); top-1 76.55 (mmpretrain). Not yet run.
# Data:     data/imagenet or ORL_IMAGENET=FOLDER; tools/check_data.py imagenet --labels checks it.
_base_ = ['mmpretrain::resnet/resnet50_8xb32_in1k.py', '../_base_/on_mmpretrain.py']

train_pipeline = [
    dict(type='orl_mm.SeedSample', seed=0),
    dict(type='orl_mm.LoadImage'),
    *_base_.train_pipeline[1:],
]
# An unreadable image raises an error instead of being replaced.
test_pipeline = [dict(type='orl_mm.LoadImage', max_bad=0.0), *_base_.test_pipeline[1:]]
train_dataloader = dict(
    pin_memory=True,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_root='{{$ORL_IMAGENET:data/imagenet}}', pipeline=train_pipeline),
)
val_dataloader = dict(
    pin_memory=True,
    persistent_workers=True,
    collate_fn=dict(type='default_collate'),
    dataset=dict(data_root='{{$ORL_IMAGENET:data/imagenet}}', pipeline=test_pipeline),
)
test_dataloader = val_dataloader

default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(_delete_=True, seed=0, diff_rank_seed=True)
