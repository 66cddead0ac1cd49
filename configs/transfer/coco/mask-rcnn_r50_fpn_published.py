# Mask R-CNN, ResNet-50 with FPN, on COCO: the recipe of R2O's public code, which is DetCon's.
#
# Paper:    authors' code, KKallidromitis/r2o evaluation/coco/{config_coco.yaml, train.py}, for
#           detectron2; after DetCon, arXiv 2103.10957, appendix.
# Command:  tools/dist_train.sh configs/transfer/coco/mask-rcnn_r50_fpn_published.py 16 \
#           --work-dir work_dirs/coco_mask-rcnn_r50_fpn_published_r50_in1k_official --cfg-options \
#           model.backbone.init_cfg.checkpoint=work_dirs/r50_in1k_official/epoch_300.pth
#           16 GPUs x 4 images = batch 64. 8 GPUs: train_dataloader.batch_size=8.
# Weights:  as in mask-rcnn_r50_fpn_1x.py.
# Expected: R2O's released weights 41.7 box / 38.3 mask AP (their README). Not yet run.
# Data:     data/coco or ORL_COCO=FOLDER; tools/check_data.py coco checks it.
#
# Settings that the yaml leaves to detectron2's defaults have these. detectron2 pads crops with gray
# 128 before normalization, mmdet with 0 after it: 0.07 to 0.43 standard deviations apart.
_base_ = './mask-rcnn_r50_fpn_1x.py'

_size = (1024, 1024)
model = dict(
    data_preprocessor=dict(  # pads every training image to the crop size
        batch_augments=[dict(type='BatchFixedSizePad', size=_size, pad_mask=True)]
    )
)

train_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    # The longest side becomes 1024 x U(0.8, 1.25).
    dict(type='RandomResize', scale=_size, ratio_range=(0.8, 1.25), keep_ratio=True),
    # As in detectron2's FixedSizeCrop and DatasetMapper: boxes are clipped, not recomputed from the
    # cropped mask; objects with nothing left are removed, images without objects are not.
    dict(
        type='RandomCrop',
        crop_type='absolute',
        crop_size=_size,
        recompute_bbox=False,
        allow_negative_crop=True,
    ),
    dict(
        type='FilterAnnotations',
        min_gt_bbox_wh=(1e-5, 1e-5),
        by_box=True,
        by_mask=True,
        keep_empty=False,
    ),
    dict(type='RandomFlip', prob=0.5),
    dict(type='PackDetInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile', backend_args=None),
    dict(type='Resize', scale=_size, keep_ratio=True),  # the longest side becomes 1024
    dict(type='LoadAnnotations', with_bbox=True, with_mask=True),
    dict(
        type='PackDetInputs',
        meta_keys=('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor'),
    ),
]
del _size
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    sampler=dict(_delete_=True, type='InfiniteSampler', shuffle=True),
    batch_sampler=None,  # all images have one size, so they are not grouped by aspect ratio
    dataset=dict(pipeline=train_pipeline),
)
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    optimizer=dict(type='SGD', lr=0.1, momentum=0.9, weight_decay=4e-5),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)  # detectron2's WEIGHT_DECAY_NORM is 0
param_scheduler = [
    dict(type='LinearLR', start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(
        type='MultiStepLR', by_epoch=False, begin=0, end=24000, milestones=[16000, 21333], gamma=0.1
    ),
]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=24000, val_interval=2500)
auto_scale_lr = dict(base_batch_size=64)

custom_hooks = [
    dict(type='orl_mm.CheckDataHook', layout='coco'),
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SeedStepHook'),
    # Before each test and each checkpoint, 200 batches (detectron2's PRECISE_BN.NUM_ITER).
    dict(type='orl_mm.TrainingPreciseBNHook', num_samples=200 * 64, interval=2500),
]
default_hooks = dict(checkpoint=dict(by_epoch=False, interval=2500, max_keep_ckpts=3))
log_processor = dict(by_epoch=False)
