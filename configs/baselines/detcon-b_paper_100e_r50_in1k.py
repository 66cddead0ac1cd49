# DetCon_B, ResNet-50, ImageNet-1k, 100 epochs, with the settings of the authors' code.
#
# Paper:    arXiv 2103.10957; github.com/deepmind/detcon, detcon_b_config.py (its default).
# Command:  tools/dist_train.sh configs/baselines/detcon-b_paper_100e_r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. With fewer GPUs, add --auto-scale-lr.
# Expected: no row of the thesis. Not yet run.
# Data:     as detcon-b_r50_in1k.py.
#
# The warm-up is epochs // 100.
_base_ = './detcon-b_paper_r50_in1k.py'

param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=100)
