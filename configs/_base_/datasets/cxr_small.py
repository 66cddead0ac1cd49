# X-rays of JSRT's segmenter list and of Shenzhen at 112 pixels; without JSRT's 47 scored
# images and without Montgomery.
_base_ = './chexpert.py'

dino_pipeline, chest_pipeline = _base_.dino_pipeline, _base_.chest_pipeline
train_pipeline = dino_pipeline
for _views, _sides in ((dino_pipeline[2], (112, 112, 48)), (chest_pipeline[2], (112,))):
    _views.update(backend='pillow')  # as the recorded results were measured
    for _pipeline, _side in zip(_views['transforms'], _sides, strict=False):
        for _step in _pipeline:
            if _step['type'] == 'RandomResizedCrop':
                _step.update(scale=_side)
            if _step['type'] == 'orl_mm.GaussianBlur':  # blur in proportion to the view size
                _step.update(kernel_size=11, sigma=(0.1, 1.0))
del _views, _sides, _pipeline, _side, _step

train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    dataset=dict(
        _delete_=True,
        type='orl_mm.ImageList',
        data_root='{{$ORL_CXR:data}}',
        list_file='cxr_small',
        pipeline=dino_pipeline,
    ),
)
