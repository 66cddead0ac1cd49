# Linear probe: six findings of CheXpert from frozen features.
#
# Paper:    chapter 3 of the thesis, table 3.2.
# Command:  tools/train.py configs/transfer/chexpert/linear_vits16.py --cfg-options
#           model.backbone.init_cfg.checkpoint=work_dirs/vits16_chexpert_deformable/epoch_30.pth
#           --work-dir work_dirs/linear_vits16_deformable      (other rows: other checkpoint)
#           tools/test.py configs/transfer/chexpert/linear_vits16.py
#           work_dirs/linear_vits16_deformable/epoch_100.pth
#           tools/tables.py 3.2 work_dirs/linear_vits16_*
#           Features are computed once, distributed over the processes of tools/dist_train.sh.
# Expected: mean AUROC (table 3.2): Random 69.9, DINO 83.8, DINO (CheXpert) 60.4, with chest
#           augmentation 84.3, MeDINO triangular 84.8, average 86.2, deformable 86.5.
#           Not yet run.
# Settings: the thesis specifies a linear layer, 100 epochs and no augmentation; optimizer and batch
#           size are those of DINO's eval_linear.py (which advises to tune the learning rate).
# Data:     data/chexpert, or another folder with ORL_CXR=FOLDER, which contains chexpert.
_base_ = [
    '../../_base_/models/linear_probe_vits16.py',
    '../../_base_/datasets/chexpert_probe.py',
    '../../_base_/schedules/sgd_probe_100e.py',
    '../../_base_/default_runtime.py',
]

model = dict(
    backbone=dict(
        init_cfg=dict(
            type='orl_mm.PretrainedBackbone',
            checkpoint='work_dirs/vits16_chexpert_deformable/epoch_30.pth',
            prefix='evaluated',
        )
    )
)  # the teacher of DINO

custom_hooks = [dict(type='orl_mm.SyncBatchNormHook'), dict(type='orl_mm.FrozenFeaturesHook')]
default_hooks = dict(checkpoint=dict(interval=10, max_keep_ckpts=1))
