# FCN, ResNet-50, on VOC 2012 train: without SBD's masks, or for trying the commands on a sample.
#
# Paper:    none; not in the thesis. It has a seventh of the images and therefore of the
#           iterations: 45 epochs of 91.
# Command:  tools/train.py configs/transfer/voc/fcn_r50_train.py --cfg-options \
#           model.backbone.init_cfg.checkpoint=work_dirs/r50_in1k/epoch_300.pth
# Expected: no number to compare with. Not yet run.
# Data:     as in fcn_r50.py, which has all other settings; SegmentationClassAug is not needed.
_base_ = './fcn_r50.py'

train_dataloader = dict(
    dataset=dict(_delete_=True, **_base_.train_dataloader['dataset']['datasets'][0])
)
