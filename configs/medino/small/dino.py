# "DINO (Chexpert)" at a small scale, minutes on 2 cores: a narrow ViT from scratch.
#
# Paper:    chapter 3 of the thesis, row DINO (Chexpert) of table 3.1.
# Command:  ORL_CXR=DIR tools/train.py configs/medino/small/dino.py
#           DIR contains jsrt/images and shenzhen/images, as listed in
#           orl_mm/datasets/splits/cxr_small.txt; another folder of X-rays: --cfg-options
#           train_dataloader.dataset.data_root=DIR train_dataloader.dataset.list_file=None
# Measured: projects/medino/README.md.
_base_ = [
    '../../_base_/models/dino_small_cxr.py',
    '../../_base_/datasets/cxr_small.py',
    '../../_base_/schedules/adamw_cxr_small.py',
    '../../_base_/default_runtime.py',
]

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.97, end_momentum=1.0),
    dict(type='orl_mm.ScheduleHook', schedules=dict(teacher_temp=dict(values=[0.04]))),
    dict(type='orl_mm.FreezeLastLayerHook', epochs=1),
    dict(type='orl_mm.ClipEachGradHook', max_norm=3.0),
    dict(type='orl_mm.AttentionVisualizationHook', interval=200, num_images=4),
]
default_hooks = dict(logger=dict(interval=10), checkpoint=dict(interval=5, max_keep_ckpts=1))
