# DeepLabv3-ResNet101 on the parts of JSRT: the segmenter for the global average template.
#
# Paper:    thesis 3.2, "Predicted Global Template"; "Rethinking Atrous Convolution for Semantic
#           Image Segmentation", arXiv 1706.05587. The thesis trains on part of JSRT and gives
#           no details: schedule and augmentation are this project's choice.
# Command:  tools/dist_train.sh configs/transfer/jsrt/deeplabv3_r101.py 1
#           1 GPU x 8 images. Then the template, over the pretraining images:
#           tools/average_template.py configs/transfer/jsrt/deeplabv3_r101.py \
#           work_dirs/deeplabv3_r101/epoch_100.pth \
#           --config configs/medino/vits16_chexpert_dino.py \
#           --out data/templates/chexpert_average.npz
# Weights:  random by default. ImageNet weights from torchvision's resnet101-*.pth:
#           --cfg-options model.backbone.init_cfg.type=orl_mm.PretrainedBackbone \
#           model.backbone.init_cfg.checkpoint=FILE
# Expected: not yet run.
_base_ = [
    '../../_base_/models/deeplabv3_r101.py',
    '../../_base_/datasets/jsrt_segmentation.py',
    '../../_base_/default_runtime.py',
]
default_scope = 'mmseg'

optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.01, momentum=0.9, weight_decay=5e-4)
)
param_scheduler = [
    dict(type='PolyLR', power=0.9, eta_min=1e-4, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=10)
val_cfg = dict(type='ValLoop')
test_cfg = dict(type='TestLoop')
auto_scale_lr = dict(base_batch_size=8, enable=False)

default_hooks = dict(
    logger=dict(interval=10),
    # The last checkpoint is evaluated; the scores of the 47 images are not used to select one.
    checkpoint=dict(interval=10, max_keep_ckpts=1),
)
visualizer = dict(type='SegLocalVisualizer')
