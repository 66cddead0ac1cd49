# The views of natural_small.py and their geometry, without x0 and superpixels.
_base_ = './natural_small.py'

_pipeline = _base_.train_pipeline
train_pipeline = [*_pipeline[:2], _pipeline[3], dict(type='PackInputs', algorithm_keys=('views',))]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
