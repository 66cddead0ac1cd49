# R2O, ResNet-50, ImageNet-1k, 300 epochs, with the settings of the authors' later public code.
#
# Paper:    arXiv 2208.11821; code github.com/KKallidromitis/r2o (MIT).
# Command:  tools/dist_train.sh configs/r2o/r50_in1k_official.py 128
# Expected: VOC 77.3 mIoU, Cityscapes 76.6 mIoU, COCO 41.7 box / 38.3 mask AP, as
#           reported with the released weights. Not yet run.
#
# Each argument below is one difference from r50_in1k.py.
_base_ = './r50_in1k.py'

model = dict(
    target_update='before_target_forward',  # clustering uses the target of the previous step
    views='joined',  # both views share their batch statistics
    rows='all',  # absent regions also pass projector and predictor
    aligned=False,  # ROIAlign shifted by half a cell
    refiner=dict(
        downsample='bilinear',  # one-hot, then bilinear without anti-aliasing
        min_area=1.0,  # divide by max(area, 1)
        cluster_empty=True,  # zero vectors of empty channels are clustered
        border='blend',  # ids averaged at borders
        update_running_stats=True,
        absolute_tol=1e-6,
    ),
    neck=dict(min_area=1.0),
    head=dict(symmetric='mean', loss=dict(average='region')),
)  # one mean over the regions of the batch

# SLIC on the normalized image; both views are always flipped; torchvision's pixels.
_pipeline = _base_.train_pipeline
_pipeline[2].update(normalize=True, backend='pillow')
_pipeline[3].update(flip_prob=1.0, backend='pillow')
train_dataloader = dict(dataset=dict(pipeline=_pipeline))

# The weight of the stem's batch norm is not excluded from decay and adaptation.
optim_wrapper = dict(paramwise_cfg=dict(include=('backbone.bn1.weight',)))
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=3, by_epoch=True, convert_to_iter_based=True)
]

# K decreases from 127 to 4; the learning rate is multiplied by K / 16.
custom_hooks = _base_.custom_hooks
[_hook] = [hook for hook in custom_hooks if hook['type'] == 'orl_mm.KMeansRefineHook']
_hook.update(schedule=dict(type='cosine', values=[128, 4]), lr_factor_base=16)
