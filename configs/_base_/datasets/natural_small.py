# 1,152 photographs at 112 pixels: the ImageNet sample and the training images of the COCO and VOC
# samples, as listed in orl_mm/datasets/splits/natural_small.txt. x0 has 224 pixels, so that with
# a last stage of stride 16 the grids are those of the thesis: C4 of x0 14 x 14, C5 of a view 7 x 7.
_base_ = './imagenet_r2o.py'

train_pipeline = _base_.train_pipeline
# The recorded results were measured with Pillow's pixels.
train_pipeline[2].update(backend='pillow')
train_pipeline[3].update(size=112, scale=(0.2, 1.0), backend='pillow')
for _view in train_pipeline[3]['transforms']:  # blur in proportion to the view size
    _view[2].update(kernel_size=11, sigma=(0.1, 1.0))
del _view

train_dataloader = dict(
    batch_size=32,
    num_workers=1,
    dataset=dict(
        data_root='{{$ORL_NATURAL:data/natural}}',
        list_file='natural_small',
        pipeline=train_pipeline,
    ),
)
