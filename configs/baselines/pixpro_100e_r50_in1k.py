# PixPro, ResNet-50, ImageNet-1k, 100 epochs: pixpro_r50_in1k.py with fewer epochs.
#
# Paper:    arXiv 2011.10043; tools/pixpro_base_r50_100ep.sh of github.com/zdaxie/PixPro, which
#           differs from the script for 400 epochs only in the number of epochs.
# Command:  tools/dist_train.sh configs/baselines/pixpro_100e_r50_in1k.py 8 --amp
#           8 GPUs x 128 images = batch 1024. For other batch sizes, add --auto-scale-lr.
# Expected: COCO 40.8 box / 36.8 mask AP (Mask R-CNN R50-FPN 1x, the authors' README; not in the
#           thesis). Not yet run.
# Data:     as pixpro_r50_in1k.py.
_base_ = './pixpro_r50_in1k.py'

train_cfg = dict(max_epochs=100)
