# R2O with K = 4, ResNet-50, ImageNet100 (126,689 images), 300 epochs: table 2.3.
#
# Paper:    chapter 2 of the thesis, section 2.3, ablations.
# Command:  tools/dist_train.sh configs/r2o/r50_in100_k4.py 128
# Expected: VOC 65.49 mIoU (the thesis). Not yet run.
# The thesis does not give the number of epochs; 300 is this project's choice.
_base_ = './r50_in1k.py'

model = dict(refiner=dict(num_clusters=4))
train_dataloader = dict(dataset=dict(classes_file='imagenet100'))

custom_hooks = _base_.custom_hooks
[_hook] = [hook for hook in custom_hooks if hook['type'] == 'orl_mm.KMeansRefineHook']
_hook.update(schedule=dict(type='constant', values=[4]))
