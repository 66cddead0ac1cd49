# BYOL, ResNet-50, ImageNet-1k, 100 epochs; base lr 0.45, its recipe for 100 epochs.
#
# Paper:    arXiv 2006.07733; lightly's benchmark uses the same learning rate.
# Command:  tools/dist_train.sh configs/baselines/byol_100e_r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. With fewer GPUs, add --auto-scale-lr.
# Expected: not in the thesis; baseline of configs/r2o/r50_in1k_100e.py. Not yet run.
# Data:     as byol_r50_in1k.py.
_base_ = './byol_r50_in1k.py'

optim_wrapper = dict(optimizer=dict(lr=0.45 * 4096 / 256))
train_cfg = dict(max_epochs=100)
