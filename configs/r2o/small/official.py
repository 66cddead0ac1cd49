# R2O small as the authors' later public code computes it, K from 128 to 4 included.
#
# Paper:    arXiv 2208.11821, made small: beside "Ours" of table 2.2.
# Command:  ORL_NATURAL=DIR tools/train.py configs/r2o/small/official.py       (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
#
# What configs/r2o/r50_in1k_official.py changes, except the optimiser's part: with AdamW the rate
# is not multiplied by K / 16, and nothing is excluded from its decay.
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
