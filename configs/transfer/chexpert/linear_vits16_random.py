# The linear probe of CheXpert on a ViT-S/16 with random weights: the row "Random".
#
# Paper:    chapter 3 of the thesis, table 3.2.
# Command:  tools/train.py configs/transfer/chexpert/linear_vits16_random.py
# Expected: mean AUROC 69.9 (table 3.2). Not yet run.
_base_ = './linear_vits16.py'

model = dict(backbone=dict(init_cfg=dict(_delete_=True, type='orl_mm.ViTInit')))
