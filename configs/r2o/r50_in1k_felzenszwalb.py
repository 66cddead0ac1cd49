# R2O with Felzenszwalb's graph-based segmentation as the prior mask.
#
# Paper:    chapter 2 of the thesis.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_felzenszwalb.py 128
# Expected: not yet run.
# Scale and min_size are those of DetCon's masks (arXiv 2103.10957).
_base_ = './r50_in1k.py'

_pipeline = _base_.train_pipeline
_pipeline[2] = dict(
    type='orl_mm.GenerateSuperpixels',
    size=224,
    method='felzenszwalb',
    scale=1000,
    sigma=0.8,
    min_size=1000,
    backend='fast',
)
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
