# CheXpert's frontal images and six findings, without augmentation; the hold-out is the public
# validation split (the thesis says 200 images; the log says how many are there).
_pipeline = [
    dict(type='orl_mm.LoadXray', max_bad=0.0),
    dict(type='Resize', scale=(224, 224), interpolation='bicubic', backend='pillow'),
    dict(type='PackInputs', meta_keys=('img_path', 'patient')),
]
train_dataloader = dict(
    batch_size=128,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=True),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='orl_mm.CheXpert',
        data_root='{{$ORL_CXR:data}}/chexpert',
        ann_file='train.csv',
        classes='six',
        # Uncertain labels, of which the thesis says nothing: ones for Atelectasis and Edema, zeros
        # for the others. 'ignore' leaves them out of the loss, 'zeros' and 'ones' are for all.
        uncertain='usual',
        fraction=1.0,  # of the patients; those of 1% are among those of 10%
        pipeline=_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=128,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='orl_mm.CheXpert',
        data_root='{{$ORL_CXR:data}}/chexpert',
        ann_file='valid.csv',
        classes='six',
        pipeline=_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(type='orl_mm.MultiLabelAUROC', prefix='chexpert')
test_evaluator = val_evaluator
val_cfg = dict()
test_cfg = dict()
