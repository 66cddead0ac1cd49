# R2O, ResNet-50, ImageNet-1k, 100 epochs; base lr 0.45, BYOL's recipe for 100 epochs.
#
# Paper:    chapter 2 of the thesis; arXiv 2208.11821.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_100e.py 128
# Expected: VOC 72.2 mIoU, Cityscapes 73.9 mIoU, COCO 40.4 box / 37.3 mask AP (the
#           thesis). Not yet run.
_base_ = './r50_in1k.py'

optim_wrapper = dict(optimizer=dict(lr=0.45 * 4096 / 256))
train_cfg = dict(max_epochs=100)
