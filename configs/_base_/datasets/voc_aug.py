# VOC 2012: train (1,464 images) and the additional masks of SBD (9,118), together "train_aug",
# for training; val (1,449) for testing.
#
# $ORL_VOC (or data/VOCdevkit/VOC2012) contains JPEGImages, SegmentationClass, SegmentationClassAug,
# and the lists ImageSets/Segmentation/{train,aug,val}.txt: see projects/transfer/README.md.
# As in the public code, images of train keep VOC's own masks even if SBD has one.
train_pipeline = [
    dict(type='orl_mm.SeedSample', seed=0),
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='orl_mm.CheckLabels', num_classes=21),
    # Relative to the image's original size: 500 x 375 becomes 250 x 188 to 1000 x 750.
    dict(type='orl_mm.RandomRelativeResize', ratio_range=(0.5, 2.0)),
    dict(type='RandomCrop', crop_size=(513, 513), cat_max_ratio=0.99),
    dict(type='RandomFlip', prob=0.5),
    # No photometric distortion. The data preprocessor pads to the crop size.
    dict(type='PackSegInputs'),
]
test_pipeline = [  # the whole image at its original size
    dict(type='LoadImageFromFile'),
    dict(type='LoadAnnotations'),
    dict(type='orl_mm.CheckLabels', num_classes=21),
    dict(type='PackSegInputs'),
]

_voc = dict(type='PascalVOCDataset', data_root='{{$ORL_VOC:data/VOCdevkit/VOC2012}}')
_lists = 'ImageSets/Segmentation'
_train = dict(
    **_voc,
    ann_file=f'{_lists}/train.txt',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
    pipeline=train_pipeline,
)
_aug = dict(
    **_voc,
    ann_file=f'{_lists}/aug.txt',
    data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClassAug'),
    pipeline=train_pipeline,
)
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='ConcatDataset', datasets=[_train, _aug]),
)
val_dataloader = dict(
    batch_size=1,  # images differ in size
    num_workers=4,
    persistent_workers=True,
    pin_memory=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(
        **_voc,
        ann_file=f'{_lists}/val.txt',
        data_prefix=dict(img_path='JPEGImages', seg_map_path='SegmentationClass'),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU'])
test_evaluator = val_evaluator
del _voc, _lists, _train, _aug
