# DenseCL at the size of configs/r2o/small/r2o.py: same images, views, encoder and steps.
#
# Paper:    arXiv 2011.09157: a row of the small-scale table 2.2.
# Command:  ORL_NATURAL=DIR tools/train.py configs/baselines/small/densecl.py     (DIR: see r2o.py)
# Expected: projects/r2o/small/README.md.
# Queue and momentum are those of mocov2.py.
_base_ = './mocov2.py'

model = dict(
    type='DenseCL',
    loss_lambda=0.5,
    neck=dict(
        _delete_=True,
        type='DenseCLNeck',
        in_channels=128,
        hid_channels=512,
        out_channels=128,
        num_grid=None,
    ),
)
find_unused_parameters = True
