# Small-scale R2O, minutes on 2 cores: a narrow ResNet-18 from scratch on 1,152 photographs, K = 64.
#
# Paper:    chapter 2 of the thesis; "Ours" of small-scale table 2.2.
# Command:  ORL_NATURAL=DIR tools/train.py configs/r2o/small/r2o.py
#           DIR contains imagenet_sample, coco and VOCdevkit as listed in
#           orl_mm/datasets/splits/natural_small.txt; another folder of images: --cfg-options
#           train_dataloader.dataset.data_root=DIR train_dataloader.dataset.list_file=None
# Expected: projects/r2o/small/README.md.
_base_ = [
    '../../_base_/models/r2o_small.py',
    '../../_base_/datasets/natural_small.py',
    '../../_base_/schedules/adamw_natural_small.py',
    '../../_base_/default_runtime.py',
]

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.99, end_momentum=1.0),
    dict(type='orl_mm.KMeansRefineHook', schedule=dict(type='constant', values=[64])),
]
default_hooks = dict(
    logger=dict(interval=10), checkpoint=dict(interval=2, max_keep_ckpts=-1)
)  # for scoring objects over training
