# "DINO (Chexpert Augmentations)" at a small scale, minutes on 2 cores.
#
# Paper:    chapter 3 of the thesis. Command: ORL_CXR=DIR tools/train.py
#           configs/medino/small/dino-cxr-aug.py
# Measured: projects/medino/README.md.
_base_ = './dino.py'

train_pipeline = _base_.chest_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
