# Attention AP on Montgomery, lungs only.
#
# Paper:    chapter 3 of the thesis, table 3.1.
# Command:  tools/test.py configs/transfer/montgomery/attention_vits16.py CHECKPOINT
#           All rows: tools/tables.py 3.1 WORK_DIRS...
# Expected: left / right lung (table 3.1): DINO 43.2 / 35.0; DINO (CheXpert) 16.5 / 15.8, with
#           chest augmentation 40.7 / 27.6; MeDINO triangular 40.0 / 54.8, average 84.1 / 50.3,
#           deformable 90.0 / 88.4. Not yet run.
# Data:     data/montgomery, or another folder with ORL_CXR=FOLDER, which contains montgomery, or
#           with --cfg-options test_dataloader.dataset.data_root=FOLDER.
_base_ = [
    '../../_base_/models/attention_probe_vits16.py',
    '../../_base_/datasets/montgomery.py',
    '../../_base_/default_runtime.py',
]

custom_hooks = [dict(type='orl_mm.SyncBatchNormHook'), dict(type='orl_mm.StoredHeadsHook')]
