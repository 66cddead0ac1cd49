# FCN, ResNet-50, on VOC 2012 train_aug: the public code's schedule, in iterations.
#
# Paper:    KKallidromitis/r2o evaluation/pascal/config_pascal.py.
# Command:  tools/dist_train.sh configs/transfer/voc/fcn_r50_published.py 2 \
#           --work-dir work_dirs/voc_fcn_r50_published_r50_in1k_official --cfg-options \
#           model.backbone.init_cfg.checkpoint=work_dirs/r50_in1k_official/epoch_300.pth
#           2 GPUs x 8 images = batch 16. With another batch size,
#           max_iters and milestones have to be changed as well.
# Expected: R2O's released weights 77.3 mIoU (their README). Not yet run.
# Data:     as in fcn_r50.py, which has all other settings.
_base_ = './fcn_r50.py'

param_scheduler = [dict(type='MultiStepLR', by_epoch=False, milestones=[21000, 27000], gamma=0.1)]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=30000, val_interval=2000)
default_hooks = dict(
    logger=dict(log_metric_by_epoch=False), checkpoint=dict(by_epoch=False, interval=2000)
)
log_processor = dict(by_epoch=False)
