# Linear probe: tuberculosis from frozen features of the narrow ViT of configs/medino/small,
# trained on Shenzhen, tested on Montgomery. Replaces CheXpert (table 3.2), which is not available.
#
# Paper:    chapter 3 of the thesis, which uses CheXpert only.
# Command:  ORL_CXR=FOLDER tools/train.py configs/transfer/montgomery/linear_tb_small.py
#           --cfg-options model.backbone.init_cfg.checkpoint=work_dirs/deformable/epoch_10.pth
#           --work-dir work_dirs/linear_tb_deformable
#           tools/tables.py 3.2 work_dirs/linear_tb_*
# Expected: no number in the thesis.
# Data:     shenzhen and montgomery, each with images and labels.csv (image,tb).
_base_ = [
    '../../_base_/models/linear_probe_vits16.py',
    '../../_base_/models/vit_small_cxr.py',
    '../../_base_/datasets/tb_probe.py',
    '../../_base_/schedules/sgd_probe_100e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    num_classes=1,
    backbone=dict(
        _delete_=True,
        **_base_.backbone,
        init_cfg=dict(
            type='orl_mm.PretrainedBackbone',
            checkpoint='work_dirs/deformable/epoch_10.pth',
            prefix='evaluated',
        ),
    ),
)

_size = _base_.backbone['img_size']
_pipeline = _base_.train_dataloader['dataset']['pipeline']
_pipeline[1].update(scale=(_size, _size))
train_dataloader = dict(dataset=dict(pipeline=_pipeline))
val_dataloader = dict(dataset=dict(pipeline=_pipeline))
test_dataloader = val_dataloader

custom_hooks = [dict(type='orl_mm.SyncBatchNormHook'), dict(type='orl_mm.FrozenFeaturesHook')]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1))
