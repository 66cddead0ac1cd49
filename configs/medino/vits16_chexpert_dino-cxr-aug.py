# DINO on CheXpert with chest augmentation: "DINO (Chexpert Augmentations)".
#
# Paper:    chapter 3 of the thesis. Command: tools/dist_train.sh
#           configs/medino/vits16_chexpert_dino-cxr-aug.py 8 --amp
# Expected: attention AP on JSRT heart 26.4, left lung 25.1, right lung 36.5; on Montgomery left
#           40.7, right 27.6 (table 3.1); CheXpert mAUC 84.3 (table 3.2). Not yet run.
_base_ = './vits16_chexpert_dino.py'

train_pipeline = _base_.chest_pipeline
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
