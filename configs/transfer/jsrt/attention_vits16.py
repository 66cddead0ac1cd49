# Attention AP on JSRT: how well the attention of each head matches its part.
#
# Paper:    chapter 3 of the thesis, table 3.1.
# Command:  tools/test.py configs/transfer/jsrt/attention_vits16.py CHECKPOINT
#           CHECKPOINT is from a config of configs/medino, or pretrained/dino_vits16.pth from
#           tools/convert_weights.py. All rows: tools/tables.py 3.1 WORK_DIRS...
# Expected: heart / left lung / right lung (table 3.1): DINO 19.1 / 30.1 / 46.3; DINO (CheXpert)
#           5.7 / 22.0 / 27.0, with chest augmentation 26.4 / 25.1 / 36.5; MeDINO triangular
#           54.5 / 59.2 / 45.6, average 71.6 / 71.3 / 82.5, deformable 89.9 / 88.3 / 87.3.
#           Not yet run.
# Data:     data/jsrt, or another folder with ORL_CXR=FOLDER, which contains jsrt, or with
#           --cfg-options test_dataloader.dataset.data_root=FOLDER.
_base_ = [
    '../../_base_/models/attention_probe_vits16.py',
    '../../_base_/datasets/jsrt.py',
    '../../_base_/default_runtime.py',
]

custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.StoredHeadsHook'),  # guided heads of the checkpoint, else the best ones
]
