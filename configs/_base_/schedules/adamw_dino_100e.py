# AdamW, lr 5e-4 per 256 images; 10 epochs of warm-up, cosine to 1e-6; decay 0.04 to 0.4.
optim_wrapper = dict(
    type='OptimWrapper',  # half precision: --amp
    optimizer=dict(type='AdamW', lr=5e-4 * 512 / 256, weight_decay=0.04),
    constructor='orl_mm.MatrixDecayConstructor',
)
param_scheduler = [
    dict(
        type='orl_mm.WarmupCosineParam',
        param_name='lr',
        warmup=10,
        final=1e-6,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
    dict(
        type='orl_mm.WarmupCosineParam',
        param_name='weight_decay',
        final=0.4,
        by_epoch=True,
        convert_to_iter_based=True,
    ),
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100)
auto_scale_lr = dict(base_batch_size=512, enable=False)
