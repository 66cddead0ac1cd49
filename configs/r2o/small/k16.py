# Small-scale R2O with K = 16 clusters in 32 images.
#
# Paper:    chapter 2 of the thesis; small-scale table 2.3.
# Command:  ORL_NATURAL=DIR tools/train.py configs/r2o/small/k16.py       (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
_base_ = './r2o.py'

custom_hooks = _base_.custom_hooks
[_hook] = [hook for hook in custom_hooks if hook['type'] == 'orl_mm.KMeansRefineHook']
_hook.update(schedule=dict(type='constant', values=[16]))
