# R2O with a regular grid of 10 x 10 cells as the prior mask.
#
# Paper:    chapter 2 of the thesis.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_grid.py 128
# Expected: not yet run.
_base_ = './r50_in1k.py'

_pipeline = _base_.train_pipeline
_pipeline[2] = dict(
    type='orl_mm.GenerateSuperpixels', size=224, method='grid', num_cells=10, backend='fast'
)
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
