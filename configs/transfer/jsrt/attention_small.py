# Attention AP on JSRT of the narrow ViT of configs/medino/small: 112 pixels, the same 14 x 14 grid.
#
# Paper:    chapter 3 of the thesis, table 3.1.
# Command:  ORL_CXR=FOLDER tools/test.py configs/transfer/jsrt/attention_small.py CHECKPOINT
# Expected: no number in the thesis. The upper bound of the grid is 96.4 / 96.0 / 97.2 (heart, left,
#           right lung), JSRT's average template scores 83.5 / 89.0 / 92.1.
_base_ = ['./attention_vits16.py', '../../_base_/models/vit_small_cxr.py']

model = dict(backbone=dict(_delete_=True, **_base_.backbone))
_size = _base_.backbone['img_size']
test_pipeline = _base_.test_pipeline
test_pipeline[2].update(scale=(_size, _size))
test_dataloader = dict(dataset=dict(pipeline=test_pipeline))
