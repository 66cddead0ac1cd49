# Two BYOL views, their geometry, and Felzenszwalb's regions of the whole image.
#
# Both public implementations segment the image at its original size, and `min_size` counts pixels.
# The label map is 448 x 448 (own choice), about as many pixels as an ImageNet image of 500 x 375:
# at 224 x 224, a region would have to be four times as large to remain. sigma is scikit-image's
# default, as in both. Only the label map is passed to the model, not the whole image.
_base_ = './imagenet_r2o.py'

_pipeline = _base_.train_pipeline
train_pipeline = [
    *_pipeline[:2],
    dict(
        type='orl_mm.GenerateSuperpixels',
        method='felzenszwalb',
        scale=1000,
        sigma=0.8,
        min_size=1000,
        size=448,
        keep_image=False,
        backend='fast',
    ),
    *_pipeline[3:],
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
