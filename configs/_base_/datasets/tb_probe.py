# Tuberculosis classification: training on Shenzhen, testing on Montgomery, another hospital.
_pipeline = [
    dict(type='orl_mm.LoadXray', max_bad=0.0),
    dict(type='Resize', scale=(224, 224), interpolation='bicubic', backend='pillow'),
    dict(type='PackInputs', meta_keys=('img_path', 'patient')),
]
_dataset = dict(
    type='orl_mm.ImageLabelCsv',
    ann_file='labels.csv',
    data_prefix=dict(img_path='images'),
    label_columns=('tb',),
    pipeline=_pipeline,
)
_loader = dict(batch_size=32, num_workers=2, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    **_loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(_dataset, data_root='{{$ORL_CXR:data}}/shenzhen', fraction=1.0),
)
val_dataloader = dict(
    **_loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(_dataset, data_root='{{$ORL_CXR:data}}/montgomery'),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='orl_mm.MultiLabelAUROC', prefix='tb')
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
