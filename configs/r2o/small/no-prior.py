# Small-scale R2O without prior masks: the 14 x 14 cells of C4 are clustered.
#
# Paper:    chapter 2 of the thesis; compared with small-scale table 2.3.
# Command:  ORL_NATURAL=DIR tools/train.py configs/r2o/small/no-prior.py       (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
_base_ = './r2o.py'

_pipeline = _base_.train_pipeline
_pipeline[2] = dict(type='orl_mm.GenerateSuperpixels', size=224, method='none')
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
