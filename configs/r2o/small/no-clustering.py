# Small-scale R2O without clustering: each superpixel is an object.
#
# Paper:    chapter 2 of the thesis; compared with small-scale table 2.3.
# Command:  ORL_NATURAL=DIR tools/train.py configs/r2o/small/no-clustering.py  (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
_base_ = './r2o.py'

custom_hooks = _base_.custom_hooks
[_hook] = [hook for hook in custom_hooks if hook['type'] == 'orl_mm.KMeansRefineHook']
_hook.update(schedule=dict(type='constant', values=[None]))
