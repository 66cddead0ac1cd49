# JSRT's lungs and heart as one label map: 150 images for training a segmenter, the other 47
# for testing. Sides are the patient's, so there is no flip.
#
# $ORL_CXR (or data) contains jsrt: the original download (All247images/*.IMG and SCR's
# masks) or images/ and masks/<part>/, see orl_mm.ChestXRayParts. The lists of ids are shipped.
_parts = ('left_lung', 'right_lung', 'heart')  # labels 1, 2, 3; the last one where parts overlap
_labels = [
    dict(type='orl_mm.LoadParts', parts=_parts),
    dict(type='orl_mm.PartsToSegMap', parts=_parts),
]
train_pipeline = [
    dict(type='orl_mm.LoadXray'),
    *_labels,
    dict(type='Resize', scale=(256, 256), keep_ratio=False),
    dict(type='RandomResize', scale=(256, 256), ratio_range=(0.8, 1.25), keep_ratio=True),
    dict(type='RandomRotate', prob=0.5, degree=10, pad_val=0, seg_pad_val=255),
    dict(type='RandomCrop', crop_size=(256, 256)),
    # Simulates other X-ray machines; on gray pixels only brightness and contrast have an effect.
    dict(type='PhotoMetricDistortion', brightness_delta=48, contrast_range=(0.6, 1.5)),
    dict(type='PackSegInputs'),
]
test_pipeline = [
    dict(type='orl_mm.LoadXray'),
    dict(type='Resize', scale=(256, 256), keep_ratio=False),
    *_labels,  # not resized: scores are computed at the size of the image file
    dict(type='PackSegInputs'),
]

_dataset = dict(
    type='orl_mm.ChestXRayParts',
    data_root='{{$ORL_CXR:data}}/jsrt',
    parts=_parts,
    metainfo=dict(
        classes=('background', *_parts),
        palette=[[0, 0, 0], [255, 176, 0], [100, 220, 255], [255, 120, 200]],
    ),
)
train_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(**_dataset, list_file='jsrt_segmenter', pipeline=train_pipeline),
)
val_dataloader = dict(
    batch_size=8,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**_dataset, list_file='jsrt_score', test_mode=True, pipeline=test_pipeline),
)
test_dataloader = val_dataloader
# Logs tables of IoU and Dice for each part.
val_evaluator = dict(type='IoUMetric', iou_metrics=['mIoU', 'mDice'])
test_evaluator = val_evaluator
del _parts, _labels, _dataset
