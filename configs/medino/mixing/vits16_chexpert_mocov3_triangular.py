# mmpretrain's own MoCo v3 with guided heads: only the hook and the template are added.
#
# Paper:    chapter 3 of the thesis applied to arXiv 2104.02057; model and learning rate
#           of mmpretrain's mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k.py.
# Command:  tools/dist_train.sh configs/medino/mixing/vits16_chexpert_mocov3_triangular.py 8 --amp
#           8 GPUs x 28 images = batch 224. Other templates: --cfg-options
#           train_dataloader.dataset.pipeline.RegisteredTemplate.source=data/templates/chexpert
# Expected: no published number. Not yet run at this size.
_base_ = '../vits16_chexpert_triangular.py'

_mlp = dict(
    type='NonLinearNeck',
    hid_channels=4096,
    out_channels=256,
    with_bias=False,
    with_last_bn=True,
    with_last_bn_affine=False,
    with_last_bias=False,
    with_avg_pool=False,
)
model = dict(
    _delete_=True,
    type='MoCoV3',
    base_momentum=0.01,
    backbone=dict(
        type='MoCoV3ViT', arch='mocov3-small', img_size=224, patch_size=16, stop_grad_conv1=True
    ),
    neck=dict(in_channels=384, num_layers=3, **_mlp),
    head=dict(
        type='MoCoV3Head',
        temperature=0.2,
        predictor=dict(in_channels=256, num_layers=2, **_mlp),
        loss=dict(type='CrossEntropyLoss', loss_weight=2 * 0.2),
    ),
)
find_unused_parameters = True  # the fixed patch embedding

optim_wrapper = dict(
    _delete_=True,
    type='OptimWrapper',
    optimizer=dict(type='AdamW', lr=1.5e-4 * 224 / 256, weight_decay=0.1),
)
param_scheduler = [
    dict(
        type='orl_mm.WarmupCosineParam',
        param_name='lr',
        warmup=10,
        final=0.0,
        by_epoch=True,
        convert_to_iter_based=True,
    )
]
# MoCo v3 updates its momentum encoder itself and has no teacher temperature or prototypes.
custom_hooks = [
    hook
    for hook in _base_.custom_hooks
    if hook['type'].split('.')[-1]
    not in ('MomentumUpdateHook', 'ScheduleHook', 'FreezeLastLayerHook', 'ClipEachGradHook')
]
