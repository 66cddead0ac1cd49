# Small-scale R2O with the settings of the authors' later public code, including K from 128 to 4.
#
# Paper:    arXiv 2208.11821; compared with "Ours" of small-scale table 2.2.
# Command:  ORL_NATURAL=DIR tools/train.py configs/r2o/small/official.py       (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
#
# The changes of configs/r2o/r50_in1k_official.py except those of the optimizer: with AdamW, the
# learning rate is not multiplied by K / 16 and no parameter is excluded from weight decay.
_base_ = './k128-4.py'

model = dict(
    target_update='before_target_forward',
    views='joined',
    rows='all',
    aligned=False,
    refiner=dict(
        downsample='bilinear',
        min_area=1.0,
        cluster_empty=True,
        border='blend',
        update_running_stats=True,
        absolute_tol=1e-6,
    ),
    neck=dict(min_area=1.0),
    head=dict(symmetric='mean', loss=dict(average='region')),
)

_pipeline = _base_.train_pipeline
_pipeline[2].update(normalize=True)
_pipeline[3].update(flip_prob=1.0)
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
