# R2O with a K that falls linearly from 128 to 4: parts first, objects later.
#
# Paper:    chapter 2 of the thesis, where K stays 64 (4, 16 and 64 compared: table 2.3).
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_k-linear.py 128
# Expected: not yet run. The points are this project's choice.
_base_ = './r50_in1k.py'

_hooks = _base_.custom_hooks
_hooks[3].update(schedule=dict(type='linear', values=[128, 4]))
custom_hooks = _hooks
