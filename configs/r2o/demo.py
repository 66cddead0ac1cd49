# R2O in a few minutes on 2 CPU cores: ResNet-18, small views, real photographs.
#
# Paper:    chapter 2 of the thesis; arXiv 2208.11821, at a small scale.
# Command:  make demo                     tiles of the photographs shipped with
#                                         scikit-image and scikit-learn
#           make demo DATA=my_photos      a folder of images
#           = tools/train.py configs/r2o/demo.py --work-dir work_dirs/demo
#           --cfg-options train_dataloader.dataset.data_root=my_photos
# Output:   checkpoint, log and objects/latest.png in work_dirs/demo. The picture shows prior
#           masks and refined objects before and after training.
# Expected: a picture, not a useful network: 8 photographs are too few.
_base_ = './r50_in1k.py'

model = dict(
    backbone=dict(depth=18),
    refiner=dict(num_clusters=16),
    neck=dict(projector=dict(hid_channels=1024)),
    head=dict(predictor=dict(hid_channels=1024)),
)

_pipeline = _base_.train_pipeline
_pipeline[3].update(size=96, scale=(0.2, 1.0))
for _view in _pipeline[3]['transforms']:  # blur in proportion to the view size
    _view[2].update(kernel_size=9, sigma=(0.1, 0.9))
del _view
train_dataloader = dict(
    batch_size=16,
    num_workers=1,
    drop_last=False,
    dataset=dict(
        _delete_=True,
        type='orl_mm.DemoPhotos',
        data_root='{{$ORL_DEMO_DATA:work_dirs/demo/photos}}',
        pipeline=_pipeline,
    ),
)

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1e-3 * 4096 / 16, weight_decay=0.05),
)
param_scheduler = [dict(type='orl_mm.WarmupCosineLR', warmup=10, by_epoch=False)]
train_cfg = dict(_delete_=True, type='IterBasedTrainLoop', max_iters=100)

_hooks = {hook['type']: hook for hook in _base_.custom_hooks}
_hooks['orl_mm.MomentumUpdateHook'].update(momentum=0.97)
_hooks['orl_mm.KMeansRefineHook'].update(schedule=dict(type='constant', values=[16]), interval=10)
_hooks['orl_mm.ObjectVisualizationHook'].update(interval=50, num_images=8)
custom_hooks = [*_hooks.values(), dict(type='orl_mm.SayWhereHook')]

default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(interval=50, by_epoch=False, max_keep_ckpts=1)
)
log_processor = dict(by_epoch=False)
# The learning rate is given for batch size 4096, as in all configs: 1e-3 for 16 images.
auto_scale_lr = dict(enable=True)
