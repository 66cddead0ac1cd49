# DeepLabv3 on a narrow ResNet-18 at 128 pixels: small-scale segmenter, minutes on 2 cores.
#
# Paper:    thesis 3.2, "Predicted Global Template", at a small scale; weights from scratch.
# Command:  ORL_CXR=FOLDER tools/train.py configs/transfer/jsrt/deeplabv3_r18_small.py
# Measured: Dice on the 47 test images: left lung 94.7, right lung 94.8, heart 92.3. 540 steps of
#           0.2 s on 2 idle cores, 9 minutes with one thread under load (2026-11-25, torch 2.13).
_base_ = './deeplabv3_r101.py'

model = dict(
    data_preprocessor=dict(size=(128, 128)),
    backbone=dict(depth=18, base_channels=32, stem_channels=32),
    decode_head=dict(in_channels=256, channels=64, dilations=(1, 3, 6, 9)),
    auxiliary_head=dict(in_channels=128, channels=32),
)

for _pipeline in (_base_.train_pipeline, _base_.test_pipeline):
    for _step in _pipeline:
        for _key in ('scale', 'crop_size'):
            if _key in _step:
                _step[_key] = (128, 128)
del _pipeline, _step, _key
train_dataloader = dict(num_workers=1, dataset=dict(pipeline=_base_.train_pipeline))
val_dataloader = dict(num_workers=1, dataset=dict(pipeline=_base_.test_pipeline))
test_dataloader = val_dataloader

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type='AdamW', lr=1e-3, weight_decay=0.05),
    clip_grad=dict(max_norm=5.0),
)
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=2, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=30)
