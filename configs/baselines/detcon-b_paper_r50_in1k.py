# DetCon_B, ResNet-50, ImageNet-1k, 300 epochs, as its authors' code computes it.
#
# Paper:    "Efficient Visual Pretraining with Contrastive Detection", arXiv 2103.10957; settings
#           of github.com/deepmind/detcon, detcon_b_config.py and detcon_b.py.
# Command:  tools/dist_train.sh configs/baselines/detcon-b_paper_r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. Fewer GPUs: add --auto-scale-lr.
# Expected: the thesis has no row of it. Here: not yet run.
# Data:     as detcon-b_r50_in1k.py; the same cache of regions.
#
# What the authors' code does and this does not: brightness adds an offset in +-0.4 (here a factor
# in 0.6..1.4, torchvision's); a crop that does not fit is cut to the image's sides (here drawn
# again); the blur's kernel is 22.4 wide (here 23); target and online network start from draws
# of their own, which they found to make no difference (here from the same); region ids are taken
# modulo 256; a linear classifier watches without gradient.
_base_ = './detcon-b_r50_in1k.py'

model = dict(
    target_draw='shared',
    target_update='after_step',
    views='separate',
    backbone=dict(zero_init_residual=True),
    neck=dict(projector=dict(with_last_bias=False)),
    head=dict(predictor=dict(with_last_bias=False)),
)

optim_wrapper = dict(optimizer=dict(lr=0.2 * 4096 / 256, weight_decay=1.5e-6))
_hooks = _base_.custom_hooks
_hooks[3].update(momentum=0.996)
custom_hooks = _hooks
