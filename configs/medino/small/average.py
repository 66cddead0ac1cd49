# "MeDINO (Global Average)" at a small scale, minutes on 2 cores.
#
# Paper:    chapter 3 of the thesis. Commands, with ORL_CXR=DIR:
#           tools/train.py configs/transfer/jsrt/deeplabv3_r18_small.py
#           tools/average_template.py configs/transfer/jsrt/deeplabv3_r18_small.py CHECKPOINT
#           --config configs/medino/small/dino.py --out data/templates/cxr_small_average.npz
#           tools/train.py configs/medino/small/average.py
# Measured: projects/medino/README.md.
_base_ = './triangular.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(source='data/templates/cxr_small_average.npz')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
