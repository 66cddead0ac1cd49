# The linear probe of CheXpert with the labels of 1% of the patients.
#
# Paper:    chapter 3 of the thesis uses all labels; this comparison is an addition.
# Command:  as linear_vits16.py, --work-dir work_dirs/linear_vits16_deformable_1pct
# Expected: no number in the thesis. Not yet run.
_base_ = './linear_vits16.py'

train_dataloader = dict(dataset=dict(fraction=0.01))
