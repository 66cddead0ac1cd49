# R2O with K = 64, 16 and 4 in the three thirds of training.
#
# Paper:    chapter 2 of the thesis, which uses K = 64 (table 2.3 compares 4, 16 and 64).
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_k-piecewise.py 128
# Expected: not yet run. The values and epochs are this project's choice.
_base_ = './r50_in1k.py'

custom_hooks = _base_.custom_hooks
[_hook] = [hook for hook in custom_hooks if hook['type'] == 'orl_mm.KMeansRefineHook']
_hook.update(schedule=dict(type='piecewise', epochs=[1, 101, 201], values=[64, 16, 4]))
