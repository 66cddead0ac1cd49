# DetCon_B, ResNet-50, ImageNet-1k, 100 epochs, as the thesis reproduced it.
#
# Paper:    arXiv 2103.10957; github.com/KKallidromitis/detcon-pytorch.
# Command:  tools/dist_train.sh configs/baselines/detcon-b_100e_r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. Fewer GPUs: add --auto-scale-lr.
# Expected: VOC 70.7 mIoU, Cityscapes 73.1 mIoU (the thesis, table 2.2). Here: not yet run.
# Data:     as detcon-b_r50_in1k.py.
#
# The reproduction has a config for 300 epochs alone. Rate and warm-up are kept; its comment
# on the warm-up, 1/100 of the epochs as the authors, would be 1 here.
_base_ = './detcon-b_r50_in1k.py'

train_cfg = dict(max_epochs=100)
