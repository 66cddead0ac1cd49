# CheXpert's frontal images and six findings, without augmentation; the held-out set is the public
# validation split (200 images according to the thesis; the number found is logged).
_pipeline = [
    dict(type='orl_mm.LoadXray', max_bad=0.0),
    dict(type='Resize', scale=(224, 224), interpolation='bicubic', backend='pillow'),
    dict(type='PackInputs', meta_keys=('img_path', 'patient')),
]
_dataset = dict(
    type='orl_mm.CheXpert',
    data_root='{{$ORL_CXR:data}}/chexpert',
    classes='six',
    pipeline=_pipeline,
)
_loader = dict(batch_size=128, num_workers=8, collate_fn=dict(type='default_collate'))
train_dataloader = dict(
    **_loader,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(
        **_dataset,
        ann_file='train.csv',
        # Uncertain labels, not specified in the thesis: ones for Atelectasis and Edema, zeros
        # otherwise. 'ignore' excludes them from the loss, 'zeros' and 'ones' apply to all.
        uncertain='usual',
        fraction=1.0,  # of the patients; those of 1% are a subset of those of 10%
    ),
)
val_dataloader = dict(
    **_loader,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(**_dataset, ann_file='valid.csv'),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='orl_mm.MultiLabelAUROC', prefix='chexpert')
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
