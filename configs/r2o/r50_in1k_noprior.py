# R2O without a prior mask: the 14 x 14 cells of C4 are clustered.
#
# Paper:    chapter 2 of the thesis; prior-free refinement is its future work (section 2.4).
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_noprior.py 128
# Expected: not yet run.
_base_ = './r50_in1k.py'

_pipeline = _base_.train_pipeline
_pipeline[2] = dict(type='orl_mm.GenerateSuperpixels', size=224, method='none', backend='fast')
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
