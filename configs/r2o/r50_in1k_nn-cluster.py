# R2O with nearest-neighbor positives of the same cluster in other images of the batch.
#
# Paper:    section 2.4 of the thesis suggests this extension: NNCLR (arXiv 2104.14548)
#           at the object level.
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_nn-cluster.py 128
# Expected: not yet run.
_base_ = './r50_in1k.py'

model = dict(positives=dict(type='orl_mm.NearestNeighbor', same_cluster=True, dim=256))
