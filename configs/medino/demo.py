# MeDINO in a few minutes on 2 CPU cores, on phantoms (drawn chests with known masks, not X-rays).
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
# Output:   checkpoint, log and attention/latest.png in work_dirs/demo_medino; report.md and
#           report.png in work_dirs/phantom/templates.
# Expected: a picture and a check of the installation. Phantoms do not predict results on X-rays.
_base_ = './small/deformable.py'

train_pipeline = _base_.train_pipeline
train_pipeline[2].update(source='work_dirs/phantom/templates')
train_dataloader = dict(
    dataset=dict(
        _delete_=True,
        type='orl_mm.ChestXRayParts',
        data_root='work_dirs/phantom',
        list_file='work_dirs/phantom/splits/segmenter.txt',  # score.txt is held out for the test
        pipeline=train_pipeline,
    )
)

# fp32: bfloat16 is slow on processors without AMX.
optim_wrapper = dict(type='OptimWrapper')
_lr, _decay = _base_.param_scheduler
_lr.update(warmup=3)
param_scheduler = [_lr, _decay]
train_cfg = dict(max_epochs=20)
default_hooks = dict(logger=dict(interval=6), checkpoint=dict(interval=20))
custom_hooks = _base_.custom_hooks
[_hook] = [h for h in custom_hooks if h['type'] == 'orl_mm.AttentionVisualizationHook']
_hook.update(interval=60)
