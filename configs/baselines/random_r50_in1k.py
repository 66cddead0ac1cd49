# Random: the supervised ResNet-50 at initialization, as a baseline without pretraining.
#
# Paper:    none; the initialization of arXiv 1502.01852 as in mmpretrain's ResNet (with the
#           last norm of each block at zero).
# Command:  tools/train.py configs/baselines/random_r50_in1k.py
#           Needs no data and trains for no step: it writes work_dirs/random_r50_in1k/epoch_0.pth,
#           which the transfers use like the checkpoint of any row. For other random weights:
#           --cfg-options randomness.seed=1
# Expected: a lower bound; there is no such row in tables 2.1 to 2.3 of the thesis. Not yet run.
# Data:     none.
_base_ = './supervised_r50_in1k.py'

custom_hooks = [dict(type='orl_mm.SyncBatchNormHook'), dict(type='orl_mm.SaveInitialHook')]
train_cfg = dict(max_epochs=0)
param_scheduler = None
# The loop needs a data set even if it trains for no step: photographs shipped with scikit-image.
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
