# R2O with K decreasing linearly from 128 to 4: from parts to objects.
#
# Paper:    chapter 2 of the thesis, which uses K = 64 (table 2.3 compares 4, 16 and 64).
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_k-linear.py 128
# Expected: not yet run. The values and epochs are this project's choice. With `epochs=[...]`, a
#           linear schedule of K continues with the same slope before the first and after the last.
_base_ = './r50_in1k.py'

custom_hooks = _base_.custom_hooks
[_hook] = [hook for hook in custom_hooks if hook['type'] == 'orl_mm.KMeansRefineHook']
_hook.update(schedule=dict(type='linear', values=[128, 4]))
