# "MeDINO (Deformable)" at a small scale, minutes on 2 cores.
#
# Paper:    chapter 3 of the thesis. Commands, with ORL_CXR=DIR:
#           tools/register_templates.py --exemplar-root DIR/jsrt --exemplar-id JPCNN001
#           --config configs/medino/small/dino.py --out data/templates/cxr_small
#           --fallback data/templates/cxr_small_average.npz
#           tools/train.py configs/medino/small/deformable.py
# Measured: projects/medino/README.md.
_base_ = './triangular.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(source='data/templates/cxr_small')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
