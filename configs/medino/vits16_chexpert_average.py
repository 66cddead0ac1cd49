# MeDINO with the average of a segmenter's predictions as template: "MeDINO (Global Average)".
#
# Paper:    chapter 3 of the thesis; arXiv 2209.03745.
# Command:  tools/train.py configs/transfer/jsrt/deeplabv3_r101.py
#           tools/average_template.py configs/transfer/jsrt/deeplabv3_r101.py
#           work_dirs/deeplabv3_r101/epoch_100.pth --config configs/medino/vits16_chexpert_dino.py
#           --out data/templates/chexpert_average.npz
#           tools/dist_train.sh configs/medino/vits16_chexpert_average.py 8 --amp
# Expected: attention AP on JSRT heart 71.6, left lung 71.3, right lung 82.5; on Montgomery left
#           84.1, right 50.3 (table 3.1); CheXpert mAUC 86.2 (table 3.2). Not yet run.
_base_ = './vits16_chexpert_triangular.py'

# threshold=None keeps the average soft; the thesis uses 0.5.
train_pipeline = _base_.train_pipeline
train_pipeline[2].update(source='data/templates/chexpert_average.npz', threshold=0.5)
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
