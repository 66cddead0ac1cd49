# MeDINO with one exemplar registered to every image: "MeDINO (Deformable)", the full method.
#
# Paper:    chapter 3 of the thesis; arXiv 2209.03745.
# Command:  tools/register_templates.py --exemplar-root data/jsrt --exemplar-id JPCNN001
#           --config configs/medino/vits16_chexpert_dino.py --out data/templates/chexpert
#           --fallback data/templates/chexpert_average.npz
#           tools/dist_train.sh configs/medino/vits16_chexpert_deformable.py 8 --amp
# Expected: attention AP on JSRT heart 89.9, left lung 88.3, right lung 87.3; on Montgomery left
#           90.0, right 88.4 (table 3.1); CheXpert mAUC 86.5 (table 3.2). Not yet run.
_base_ = './vits16_chexpert_triangular.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(source='data/templates/chexpert')
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
