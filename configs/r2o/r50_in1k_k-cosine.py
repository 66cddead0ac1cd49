# R2O with the authors' cosine schedule of K, from 127 to 4, and a learning rate independent of K.
#
# Paper:    arXiv 2208.11821; the thesis uses K = 64 (table 2.3 compares 4, 16 and 64).
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_k-cosine.py 128
# Expected: not yet run.
#
# As in the authors' code, `type='cosine'` of KMeansRefineHook is a quarter of a cosine, from its
# top down, unlike the half cosine of the learning rate: K falls slowly first (91 at half of the
# run) and fastest at the end.
_base_ = './r50_in1k.py'

custom_hooks = _base_.custom_hooks
[_hook] = [hook for hook in custom_hooks if hook['type'] == 'orl_mm.KMeansRefineHook']
_hook.update(schedule=dict(type='cosine', values=[128, 4]))
