# DetCon_B, ResNet-50, ImageNet-1k, 300 epochs, with the settings of the authors' code.
#
# Paper:    "Efficient Visual Pretraining with Contrastive Detection", arXiv 2103.10957; settings
#           of github.com/deepmind/detcon, detcon_b_config.py and detcon_b.py.
# Command:  tools/dist_train.sh configs/baselines/detcon-b_paper_r50_in1k.py 128
#           128 GPUs x 32 images = batch 4096. With fewer GPUs, add --auto-scale-lr.
# Expected: no row of the thesis. Not yet run.
# Data:     as detcon-b_r50_in1k.py; the same cache of regions.
#
# Differences of the authors' code from this config: projects/detcon/README.md.
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
custom_hooks = _base_.custom_hooks
[_hook] = [hook for hook in custom_hooks if hook['type'] == 'orl_mm.MomentumUpdateHook']
_hook.update(momentum=0.996)
