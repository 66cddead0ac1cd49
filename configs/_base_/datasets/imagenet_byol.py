# Two BYOL views and their geometry, without x0 and its superpixels.
_base_ = './imagenet_r2o.py'

_pipeline = _base_.train_pipeline
train_pipeline = [*_pipeline[:2], _pipeline[3], dict(type='PackInputs', algorithm_keys=('views',))]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
