# Mask R-CNN, ResNet-50 with FPN, on COCO: mmdet's stock 1x schedule from self-supervised weights.
#
# Paper:    thesis 2.3, table 2.1 ("We follow the 1x training schedule (12 epochs)"); Mask R-CNN,
#           arXiv 1703.06870.
# Command:  tools/dist_train.sh configs/transfer/coco/mask-rcnn_r50_fpn_1x.py 8 \
#           --work-dir work_dirs/coco_mask-rcnn_r50_fpn_1x_r50_in1k --cfg-options \
#           model.backbone.init_cfg.checkpoint=work_dirs/r50_in1k/epoch_300.pth
#           8 GPUs x 2 images = batch 16. It needs mmcv's compiled ops: make ops.
# Weights:  of R2O, a baseline or tools/convert_weights.py; random: model.backbone.init_cfg=None.
# Expected: box / mask AP of the thesis: Supervised 39.6 / 35.6, BYOL 40.6 / 37.5, R2O 100 epochs
#           40.4 / 37.3, R2O 300 epochs 40.9 / 37.8. Not yet run.
# Data:     data/coco or ORL_COCO=FOLDER; tools/check_data.py coco checks it.
#
# Schedule and data are stock. The network is that of the authors' config_coco.yaml, with trainable
# SyncBN in backbone, FPN and heads, and no frozen layer: see projects/transfer/README.md.
# For the stock network: --cfg-options model.backbone.frozen_stages=1
# model.backbone.norm_eval=True model.backbone.norm_cfg.type=BN model.neck.norm_cfg=None
# model.roi_head.bbox_head.norm_cfg=None model.roi_head.mask_head.norm_cfg=None
_base_ = 'mmdet::mask_rcnn/mask-rcnn_r50_fpn_1x_coco.py'
custom_imports = dict(imports=['orl_mm'], allow_failed_imports=False)

_norm = dict(type='SyncBN', requires_grad=True)
model = dict(
    data_preprocessor=dict(  # as in pretraining: RGB, ImageNet's mean and standard deviation
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        style='pytorch',  # stride 2 in the 3 x 3 convolution, as in torchvision and mmpretrain
        norm_cfg=_norm,
        norm_eval=False,
        frozen_stages=-1,
        init_cfg=dict(
            _delete_=True,
            type='orl_mm.PretrainedBackbone',
            checkpoint='work_dirs/r50_in1k/epoch_300.pth',
        ),
    ),
    neck=dict(norm_cfg=_norm),
    roi_head=dict(
        bbox_head=dict(norm_cfg=_norm),  # no effect: this head has only linear layers
        mask_head=dict(norm_cfg=_norm),
    ),
)
del _norm

data_root = '{{$ORL_COCO:data/coco}}/'
train_pipeline = [dict(type='orl_mm.SeedSample', seed=0), *_base_.train_pipeline]
train_dataloader = dict(dataset=dict(data_root=data_root, pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(data_root=data_root))
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + 'annotations/instances_val2017.json')
test_evaluator = val_evaluator

custom_hooks = [
    dict(type='orl_mm.CheckDataHook', layout='coco'),
    dict(type='orl_mm.SyncBatchNormHook'),
    # Flips and the sampling of anchors and regions are functions of seed and step, so that a
    # resumed run is identical.
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
]
randomness = dict(seed=0, diff_rank_seed=True)
