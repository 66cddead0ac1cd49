# The linear probe of CheXpert on DINO's ImageNet weights: the row "DINO".
#
# Paper:    chapter 3 of the thesis, table 3.2; weights: github.com/facebookresearch/dino.
# Command:  tools/convert_weights.py dino_deitsmall16_pretrain.pth pretrained/dino_vits16.pth
#           tools/train.py configs/transfer/chexpert/linear_vits16_dino-in1k.py
# Expected: mean AUROC 83.8 (table 3.2). Not yet run.
_base_ = './linear_vits16.py'

model = dict(backbone=dict(init_cfg=dict(checkpoint='pretrained/dino_vits16.pth')))
