# R2O around a narrow ResNet-18 whose last stage has output stride 16.
_base_ = './r2o_r50.py'

model = dict(
    backbone=dict(depth=18, stem_channels=16, base_channels=16, strides=(1, 2, 2, 1)),
    neck=dict(projector=dict(hid_channels=512, out_channels=128)),
    head=dict(predictor=dict(hid_channels=512)),
)
