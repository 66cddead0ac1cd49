# DINO on CheXpert with DINO's augmentation: the thesis's row "DINO (Chexpert)".
#
# Paper:    chapter 3 of the thesis; DINO: arXiv 2104.14294.
# Command:  tools/convert_weights.py dino_deitsmall16_pretrain.pth pretrained/dino_vits16.pth
#           tools/dist_train.sh configs/medino/vits16_chexpert_dino.py 8 --amp
#           8 GPUs x 28 images = batch 224. For other batch sizes, add --auto-scale-lr.
#           In bfloat16, without a loss scaler: --precision bf16.
# Expected: attention AP on JSRT heart 5.7, left lung 22.0, right lung 27.0; on Montgomery left
#           16.5, right 15.8 (table 3.1); CheXpert mAUC 60.4 (table 3.2). Not yet run.
# Data:     data/chexpert, as downloaded or as written by tools/convert_cxr.py.
_base_ = [
    '../_base_/models/dino_vits16.py',
    '../_base_/datasets/chexpert.py',
    '../_base_/schedules/adamw_medino_30e.py',
    '../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(  # DINO on ImageNet; the head starts from random weights
            _delete_=True, type='orl_mm.PretrainedBackbone', checkpoint='pretrained/dino_vits16.pth'
        )
    )
)

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
    dict(type='orl_mm.MomentumUpdateHook', momentum=0.996, end_momentum=1.0),
    dict(type='orl_mm.ScheduleHook', schedules=dict(teacher_temp=dict(values=[0.04]))),
    dict(type='orl_mm.FreezeLastLayerHook', epochs=1),
    dict(type='orl_mm.ClipEachGradHook', max_norm=3.0),
    dict(type='orl_mm.AttentionVisualizationHook', interval=1000, num_images=4),
]
