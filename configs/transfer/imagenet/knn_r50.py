# ImageNet top-1 of weighted k-nearest-neighbor classification with a ResNet-50's features.
#
# Paper:    DINO, arXiv 2104.14294, after "Unsupervised Feature Learning via Non-Parametric
#           Instance Discrimination", arXiv 1805.01978; settings of eval_knn.py of
#           github.com/facebookresearch/dino: k = 20, temperature 0.07, bicubic 256, crop 224.
# Command:  tools/dist_test.sh configs/transfer/imagenet/knn_r50.py
#           work_dirs/r50_in1k/epoch_300.pth 8 --work-dir work_dirs/imagenet_knn_r50_r50_in1k
#           (other rows: other checkpoint; one process: tools/test.py CONFIG CHECKPOINT)
#           The features of the training images, 10.5 GB, are distributed over the GPUs. If they do
#           not fit: --cfg-options custom_hooks.FeatureBankHook.device=cpu
# Expected: not in the thesis. Not yet run.
# Data:     data/imagenet or ORL_IMAGENET=FOLDER; tools/check_data.py imagenet --labels checks it.
_base_ = '../../_base_/default_runtime.py'

data_preprocessor = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], to_rgb=True)
model = dict(
    type='orl_mm.KNNProbe',
    num_classes=1000,
    k=20,
    temperature=0.07,
    network='auto',  # the teacher of DINO, otherwise the online network
    backbone=dict(type='ResNet', depth=50),
)

_pipeline = [
    dict(type='orl_mm.LoadImage', max_bad=0.0),  # an unreadable image raises an error
    dict(type='ResizeEdge', scale=256, edge='short', backend='pillow', interpolation='bicubic'),
    dict(type='CenterCrop', crop_size=224),
    dict(type='PackInputs'),
]
test_dataloader = dict(
    batch_size=128,
    num_workers=8,
    sampler=dict(type='DefaultSampler', shuffle=False),
    collate_fn=dict(type='default_collate'),
    dataset=dict(
        type='ImageNet',
        data_root='{{$ORL_IMAGENET:data/imagenet}}',
        split='val',
        pipeline=_pipeline,
    ),
)
custom_hooks = [
    dict(
        type='orl_mm.FeatureBankHook',
        dataloader=dict(
            batch_size=128,
            num_workers=8,
            dataset=dict(
                type='ImageNet',
                data_root='{{$ORL_IMAGENET:data/imagenet}}',
                split='train',
                pipeline=_pipeline,
            ),
        ),
    ),
    dict(type='orl_mm.CheckDataHook', layout='imagenet', labels=True),
]
test_evaluator = dict(type='Accuracy', topk=(1, 5), prefix='knn')
test_cfg = dict()
