# Tuberculosis classification: training on Shenzhen, testing on Montgomery, another hospital.
_pipeline = [
    dict(type='orl_mm.LoadXray', max_bad=0.0),
    dict(type='Resize', scale=(224, 224), interpolation='bicubic', backend='pillow'),
    dict(type='PackInputs', meta_keys=('img_path', 'patient')),
]
train_dataloader = dict(
    batch_size=32,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='orl_mm.ImageLabelCsv',
        data_root='{{$ORL_CXR:data}}/shenzhen',
        ann_file='labels.csv',
        data_prefix=dict(img_path='images'),
        label_columns=('tb',),
        fraction=1.0,
        pipeline=_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=32,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='orl_mm.ImageLabelCsv',
        data_root='{{$ORL_CXR:data}}/montgomery',
        ann_file='labels.csv',
        data_prefix=dict(img_path='images'),
        label_columns=('tb',),
        pipeline=_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='orl_mm.MultiLabelAUROC', prefix='tb')
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
