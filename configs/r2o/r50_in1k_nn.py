# R2O with nearest-neighbor positives: a region's target is the nearest of 65,536 earlier ones.
#
# Paper:    section 2.4 of the thesis suggests this extension: NNCLR (arXiv 2104.14548)
#           at the object level.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_nn.py 128
# Expected: not yet run. The queue's size is this project's choice.
_base_ = './r50_in1k.py'

model = dict(positives=dict(type='orl_mm.NearestNeighbor', queue_size=65536, dim=256))
