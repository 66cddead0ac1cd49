# Random: the supervised ResNet-50 before its first step, for rows that learned nothing.
#
# Paper:    none; the initialisation of arXiv 1502.01852, as mmpretrain's ResNet has it (with the
#           last norm of each block at zero).
# Command:  tools/train.py configs/baselines/random_r50_in1k.py
#           Takes no step and no data: it leaves work_dirs/random_r50_in1k/epoch_0.pth, which
#           every transfer takes like another row's checkpoint. Another network: --cfg-options
#           randomness.seed=1
# Expected: a floor; the thesis's tables 2.1 to 2.3 have no such row. Here: not yet run.
# Data:     none.
_base_ = './supervised_r50_in1k.py'

custom_hooks = [dict(type='orl_mm.PlainBNOnCPUHook'), dict(type='orl_mm.SaveInitialHook')]
train_cfg = dict(max_epochs=0)
param_scheduler = None
# A loop needs images even where it shows none: those that scikit-image ships.
train_dataloader = dict(
    batch_size=1,
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,
    dataset=dict(
        _delete_=True,
        type='orl_mm.DemoPhotos',
        tiles='work_dirs/random_r50_in1k/photos',
        pipeline=_base_.train_pipeline,
    ),
)
val_dataloader = val_cfg = val_evaluator = None
test_dataloader = test_cfg = test_evaluator = None
