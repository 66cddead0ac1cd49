# MeDINO with triangles for lungs and heart as template: "MeDINO (Triangular)".
#
# Paper:    chapter 3 of the thesis; arXiv 2209.03745.
# Command:  tools/dist_train.sh configs/medino/vits16_chexpert_triangular.py 8 --amp
#           Other strengths (the thesis tried 1e-6 to 1e-2): --cfg-options
#           custom_hooks.AttentionRegHook.lambda1=1e-2 custom_hooks.AttentionRegHook.lambda2=1e-2
# Expected: attention AP on JSRT heart 54.5, left lung 59.2, right lung 45.6; on Montgomery left
#           40.0, right 54.8 (table 3.1); CheXpert mAUC 84.8 (table 3.2). Not yet run.
_base_ = './vits16_chexpert_dino-cxr-aug.py'

# After loading the image, before cropping its views.
train_pipeline = _base_.train_pipeline
train_pipeline.insert(2, dict(type='orl_mm.RegisteredTemplate', source='cxr_triangles'))
train_pipeline[-1].update(algorithm_keys=('template',), meta_keys=('img_path', 'parts'))
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

custom_hooks = [
    *_base_.custom_hooks,
    dict(
        type='orl_mm.AttentionRegHook',
        heads={0: 'left_lung', 1: 'right_lung', 2: 'heart'},
        lambda1=1e-3,
        lambda2=1e-3,
    ),
]
