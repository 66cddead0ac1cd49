# R2O with prior masks from files: label maps as PNG, with the size of x0 or of the image.
#
# Paper:    chapter 2 of the thesis.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_file-masks.py 128
# Expected: not yet run.
# Data:     the mask of data/imagenet/train/a/b.JPEG is data/masks/train/a/b.png (or
#           b.JPEG.png).
_base_ = './r50_in1k.py'

_pipeline = _base_.train_pipeline
_pipeline[2] = dict(
    type='orl_mm.GenerateSuperpixels',
    size=224,
    method='files',
    folder='data/masks/train',
    root='data/imagenet/train',
    backend='fast',
)
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
