# MoCo v2, ResNet-50, ImageNet-1k, 200 epochs: mmpretrain's config with resumable loading.
#
# Paper:    "Improved Baselines with Momentum Contrastive Learning", arXiv 2003.04297; settings of
#           mmpretrain's mocov2_resnet50_8xb32-coslr-200e_in1k.py, unchanged.
# Command:  tools/dist_train.sh configs/baselines/mocov2_r50_in1k.py 8
#           8 GPUs x 32 images = batch 256. For other batch sizes, add --auto-scale-lr; the queue
#           length 65,536 must be a multiple of the batch size over all GPUs.
# Expected: VOC 67.5 mIoU, Cityscapes 74.5 mIoU, COCO 40.4 box / 36.4 mask AP (the thesis, tables
#           2.1 and 2.2). Not yet run.
# Data:     data/imagenet/train; any folder of images: train_dataloader.dataset.data_root=DIR.
_base_ = [
    'mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py',
    '../_base_/on_mmpretrain.py',
]

train_pipeline = [
    dict(type='orl_mm.SeedSample', seed=0),
    dict(type='orl_mm.LoadImage'),
    dict(type='MultiView', num_views=2, transforms=[_base_.view_pipeline]),
    dict(type='PackInputs'),
]
train_dataloader = dict(
    pin_memory=True,
    # A new dict, because mmengine passes the inherited `_scope_` to the function as an argument.
    collate_fn=dict(_delete_=True, type='default_collate'),
    dataset=dict(
        _delete_=True,
        type='orl_mm.ImageList',
        data_root='data/imagenet/train',
        pipeline=train_pipeline,
    ),
)

default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=3))
# As in mmpretrain, but without its `T_max` and `end`: the cosine ends with the run.
param_scheduler = [dict(type='CosineAnnealingLR', by_epoch=True)]
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(_delete_=True, seed=0, diff_rank_seed=True)
