# DetCon_B, ResNet-50, ImageNet-1k, 100 epochs, as reproduced in the thesis.
#
# Paper:    arXiv 2103.10957; github.com/KKallidromitis/detcon-pytorch.
# Command:  tools/dist_train.sh configs/baselines/detcon-b_100e_r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. With fewer GPUs, add --auto-scale-lr.
# Expected: VOC 70.7 mIoU, Cityscapes 73.1 mIoU (the thesis, table 2.2). Not yet run.
# Data:     as detcon-b_r50_in1k.py.
_base_ = './detcon-b_r50_in1k.py'

train_cfg = dict(max_epochs=100)
