# JSRT's 47 scored images, none of which is an exemplar or trains a segmenter. The whole image is
# resized to the network's input (without keeping its aspect ratio); masks keep their resolution.
test_pipeline = [
    dict(type='orl_mm.LoadXray', max_bad=0.0),  # an unreadable image raises an error
    dict(type='orl_mm.LoadParts'),
    dict(type='Resize', scale=(224, 224), interpolation='bicubic', backend='pillow'),
    dict(
        type='PackInputs',
        algorithm_keys=('part_masks',),
        meta_keys=('img_path', 'id', 'patient', 'parts'),
    ),
]
test_dataloader = dict(
    batch_size=16,
    num_workers=2,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='orl_mm.ChestXRayParts',
        data_root='{{$ORL_CXR:data}}/jsrt',
        list_file='jsrt_score',
        parts=('left_lung', 'right_lung', 'heart'),
        pipeline=test_pipeline,
    ),
)
test_evaluator = dict(type='orl_mm.AttentionAP', prefix='jsrt')
test_cfg = dict()
