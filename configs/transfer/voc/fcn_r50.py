# FCN, ResNet-50, on VOC 2012 train_aug: semantic segmentation from self-supervised weights.
#
# Paper:    thesis 2.3, tables 2.2 and 2.3 ("we finetune using the train_aug2012 dataset for 45
#           epochs"); settings of the authors' code, KKallidromitis/r2o
#           evaluation/pascal/config_pascal.py, for mmseg 0.x. FCN: arXiv 1411.4038.
# Command:  tools/dist_train.sh configs/transfer/voc/fcn_r50.py 2 \
#           --work-dir work_dirs/voc_fcn_r50_r50_in1k --cfg-options \
#           model.backbone.init_cfg.checkpoint=work_dirs/r50_in1k/epoch_300.pth
#           2 GPUs x 8 images = batch 16. 8 GPUs: train_dataloader.batch_size=2.
# Weights:  of R2O, a baseline or tools/convert_weights.py; random: model.backbone.init_cfg=None.
# Expected: mIoU of the thesis: Supervised 67.7, BYOL 73.1, DetCon_B 300 epochs 73.8, R2O 100 epochs
#           72.2, R2O 300 epochs 74.3. Not yet run.
# Data:     data/VOCdevkit/VOC2012 or ORL_VOC=FOLDER; tools/check_data.py voc checks it.
#           Without SBD's masks: fcn_r50_train.py.
#
# Steps by epoch remain valid for other batch sizes; 32 and 41 of 661 iterations are nearest to the
# published 21,000 and 27,000 (fcn_r50_published.py).
_base_ = [
    '../../_base_/models/fcn_r50.py',
    '../../_base_/datasets/voc_aug.py',
    '../../_base_/default_runtime.py',
]
default_scope = 'mmseg'

model = dict(
    data_preprocessor=dict(size=(513, 513)),
    decode_head=dict(num_classes=21, concat_input=True, align_corners=False),
    auxiliary_head=dict(
        type='FCNHead',
        in_channels=1024,
        in_index=2,  # C4
        channels=256,
        num_convs=2,
        dilation=6,
        concat_input=False,
        dropout_ratio=0.1,
        num_classes=21,
        norm_cfg=dict(type='SyncBN', requires_grad=True),
        align_corners=False,
        loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=False, loss_weight=0.2),
    ),
)

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[32, 41], gamma=0.1)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=45, val_interval=3)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16, enable=False)

default_hooks = dict(
    # The last checkpoint is evaluated; validation scores are not used to select one.
    checkpoint=dict(interval=3, max_keep_ckpts=1),
    visualization=dict(type='SegVisualizationHook'),
)
custom_hooks = [
    dict(type='orl_mm.CheckDataHook', layout='voc'),
    dict(type='orl_mm.SyncBatchNormHook'),
    # Image order and dropout are functions of seed and step, so that a resumed run is identical.
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
]
visualizer = dict(type='SegLocalVisualizer')
