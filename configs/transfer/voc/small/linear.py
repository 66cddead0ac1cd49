# A linear layer on the frozen C5 of the narrow ResNet-18 of the small tables, VOC 2012 train.
#
# Paper:    section 2.3 of the thesis; small-scale table 2.2. The linear probe of the cells is an
#           addition: it measures the features themselves, fine-tuning their use as initialization.
# Command:  ORL_VOC=DIR/VOCdevkit/VOC2012 tools/train.py configs/transfer/voc/small/linear.py \
#           --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/r2o/epoch_12.pth
# Expected: no number to compare with: the small table fits this layer by logistic regression
#           without augmentation (orl_mm/evaluation/linear_fit.py). On held-out training images, R2O
#           reached mIoU 6.4 in 7 s; this config reached 6.4 in 48 epochs and 5.5 in 12.
_base_ = './fcn.py'

model = dict(
    backbone=dict(frozen_stages=4, norm_eval=True),  # also keeps the statistics of pretraining
    neck=dict(type='orl_mm.FeatureNorm', in_channels=[16, 32, 64, 128]),
    decode_head=dict(
        channels=128, num_convs=0, concat_input=False, dropout_ratio=0.0, in_channels=128
    ),
)
optim_wrapper = dict(optimizer=dict(lr=2e-2, weight_decay=0.0))
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=48, val_interval=48)
default_hooks = dict(checkpoint=dict(interval=48))
