# R2O with the authors' cosine schedule of K, from 127 to 4, and a learning rate independent of K.
#
# Paper:    arXiv 2208.11821; the thesis uses K = 64 (table 2.3 compares 4, 16 and 64).
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_k-cosine.py 128
# Expected: not yet run.
_base_ = './r50_in1k.py'

_hooks = _base_.custom_hooks
_hooks[3].update(schedule=dict(type='cosine', values=[128, 4]))
custom_hooks = _hooks
