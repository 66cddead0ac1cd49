# ImageNet top-1 of a linear classifier on a frozen ResNet-50, 90 epochs: mmpretrain's recipe.
#
# Paper:    BYOL, arXiv 2006.07733, section 4; settings of mmpretrain's
#           byol/benchmarks/resnet50_8xb512-linear-coslr-90e_in1k.py, unchanged.
# Command:  tools/dist_train.sh configs/transfer/imagenet/linear_r50.py 8 --cfg-options
#           model.backbone.init_cfg.checkpoint=work_dirs/r50_in1k/epoch_300.pth
#           --work-dir work_dirs/imagenet_linear_r50_r50_in1k   (other rows: other checkpoint)
#           8 GPUs x 512 images = batch 4096. For other batch sizes, add --auto-scale-lr.
#           tools/test.py configs/transfer/imagenet/linear_r50.py
#           work_dirs/imagenet_linear_r50_r50_in1k/epoch_90.pth
# Expected: not in the thesis. BYOL, 200 epochs: 71.8 (mmpretrain's metafile). Not yet run.
# Data:     data/imagenet or ORL_IMAGENET=FOLDER; tools/check_data.py imagenet --labels checks it.
#
# frozen_stages=4 freezes the whole backbone, including the running statistics of its norms.
_base_ = [
    'mmpretrain::byol/benchmarks/resnet50_8xb512-linear-coslr-90e_in1k.py',
    '../../_base_/on_mmpretrain.py',
]

model = dict(
    backbone=dict(
        frozen_stages=4,
        init_cfg=dict(
            _delete_=True,
            type='orl_mm.PretrainedBackbone',
            checkpoint='work_dirs/r50_in1k/epoch_300.pth',
        ),
    )
)

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

custom_hooks = [
    dict(type='orl_mm.CheckDataHook', layout='imagenet', labels=True),
    *_base_.custom_hooks,
]
env_cfg = dict(cudnn_benchmark=True)
randomness = dict(_delete_=True, seed=0, diff_rank_seed=True)
auto_scale_lr = dict(base_batch_size=4096)
