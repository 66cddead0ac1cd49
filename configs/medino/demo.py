# MeDINO in a few minutes on 2 CPU cores, on PHANTOMS: drawn chests with known masks, no X-rays.
#
# Paper:    chapter 3 of the thesis, row MeDINO (Deformable).
# Command:  make demo-medino, which is
#           tools/make_phantom.py work_dirs/phantom --num 128
#           tools/register_templates.py --exemplar-root work_dirs/phantom
#           --exemplar-id phantom_00000 --config configs/medino/demo.py
#           --out work_dirs/phantom/templates --truth work_dirs/phantom
#           tools/train.py configs/medino/demo.py --work-dir work_dirs/demo_medino
#           tools/test.py configs/transfer/phantom/attention_small.py
#           work_dirs/demo_medino/epoch_20.pth
# Leaves:   in work_dirs/demo_medino the checkpoint, the log, and attention/latest.png; in
#           work_dirs/phantom/templates report.md and report.png.
# Expected: something to look at and a check of the installation: phantoms say nothing of X-rays.
_base_ = './small/deformable.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(source='work_dirs/phantom/templates')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='orl_mm.ChestXRayParts',
        data_root='work_dirs/phantom',
        list_file='work_dirs/phantom/splits/segmenter.txt',  # score.txt is kept for the test
        pipeline=train_pipeline,
    )
)

_lr, _decay = _base_.param_scheduler
_lr.update(warmup=3)
param_scheduler = [_lr, _decay]
train_cfg = dict(max_epochs=20)
default_hooks = dict(logger=dict(interval=6), checkpoint=dict(interval=20))
custom_hooks = _base_.custom_hooks
custom_hooks[7].update(interval=60)
