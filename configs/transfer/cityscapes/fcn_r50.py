# FCN, ResNet-50, on Cityscapes train_fine: semantic segmentation from self-supervised weights.
#
# Paper:    thesis 2.3, table 2.2 ("train_fine", 160 epochs); settings of the authors' code,
#           KKallidromitis/r2o evaluation/cityscapes/config_cityscapes.py, for mmseg 0.x. FCN:
#           arXiv 1411.4038.
# Command:  tools/dist_train.sh configs/transfer/cityscapes/fcn_r50.py 4 \
#           --work-dir work_dirs/cityscapes_fcn_r50_r50_in1k --cfg-options \
#           model.backbone.init_cfg.checkpoint=work_dirs/r50_in1k/epoch_300.pth
#           4 GPUs x 4 images = batch 16. 8 GPUs: train_dataloader.batch_size=2.
# Weights:  of R2O, a baseline or tools/convert_weights.py; random: model.backbone.init_cfg=None.
# Expected: mIoU of the thesis: Supervised 73.7, BYOL 75.2, DetCon_B 300 epochs 75.7, R2O 100 epochs
#           73.9, R2O 300 epochs 75.6; R2O's released weights 76.6 (their README). Not yet run.
# Data:     data/cityscapes or ORL_CITYSCAPES=FOLDER; tools/check_data.py cityscapes checks it.
_base_ = [
    '../../_base_/models/fcn_r50.py',
    '../../_base_/datasets/cityscapes.py',
    '../../_base_/default_runtime.py',
]
default_scope = 'mmseg'

model = dict(
    data_preprocessor=dict(size=(769, 769)),
    decode_head=dict(num_classes=19, concat_input=False, align_corners=True),
)  # no auxiliary head

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.04, momentum=0.9, weight_decay=1e-4)
)
param_scheduler = [dict(type='MultiStepLR', by_epoch=True, milestones=[112, 144], gamma=0.1)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=160, val_interval=5)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=16, enable=False)

default_hooks = dict(
    # The last checkpoint is evaluated; validation scores are not used to select one.
    checkpoint=dict(interval=5, max_keep_ckpts=1),
    visualization=dict(type='SegVisualizationHook'),
)
custom_hooks = [
    dict(type='orl_mm.CheckDataHook', layout='cityscapes'),
    dict(type='orl_mm.SyncBatchNormHook'),
    # Image order and dropout are functions of seed and step, so that a resumed run is identical.
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
]
visualizer = dict(type='SegLocalVisualizer')
