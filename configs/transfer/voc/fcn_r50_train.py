# FCN, ResNet-50, on VOC 2012 train alone: without SBD's masks, or to try the commands on a sample.
#
# Paper:    none; no number of the thesis is of this one. It has a seventh of the images, and so
#           of the iterations: 45 epochs of 91.
# Command:  tools/train.py configs/transfer/voc/fcn_r50_train.py --cfg-options \
#           model.backbone.init_cfg.checkpoint=work_dirs/r50_in1k/epoch_300.pth
# Expected: nothing to compare with. Here: not yet run.
# Data:     as fcn_r50.py, which states everything else; SegmentationClassAug is not needed.
_base_ = './fcn_r50.py'

train_dataloader = dict(
    dataset=dict(_delete_=True, **_base_.train_dataloader['dataset']['datasets'][0])
)
