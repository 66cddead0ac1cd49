# Cityscapes: train (2,975 finely labeled images) for training, val (500) for testing; 19 classes.
#
# $ORL_CITYSCAPES (or data/cityscapes) contains leftImg8bit and gtFine with *_labelTrainIds.png: see
# projects/transfer/README.md.
train_pipeline = [
    dict(type='orl_mm.SeedSample', seed=0),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='orl_mm.CheckLabels', num_classes=19),
    # 2049 = 128 x 16 + 1, as 769 = 48 x 16 + 1: with align_corners, the features at stride 16
    # coincide with pixels.
    dict(type='RandomResize', scale=(2049, 1025), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type='RandomCrop', crop_size=(769, 769), cat_max_ratio=0.99),
    dict(type='RandomFlip', prob=0.5),
    # No photometric distortion. The data preprocessor pads to the crop size.
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='LoadImageFromFile'),
    dict(type='Resize', scale=(2049, 1025), keep_ratio=True),
    # Not resized: mmseg resizes the predictions to the size of the labels.
    dict(type='LoadAnnotations'),
    dict(type='orl_mm.CheckLabels', num_classes=19),
    dict(type='PackSegInputs'),
]

_cityscapes = dict(type='CityscapesDataset', data_root='{{$ORL_CITYSCAPES:data/cityscapes}}')
train_dataloader = dict(
    batch_size=4,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **_cityscapes,
        data_prefix=dict(img_path='leftImg8bit/train', seg_map_path='gtFine/train'),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **_cityscapes,
        data_prefix=dict(img_path='leftImg8bit/val', seg_map_path='gtFine/val'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
del _cityscapes
