# LARS, linear warm-up from 0 over 10 epochs, cosine to 0; base lr 0.3 per 256 images.
optim_wrapper = dict(
    type='OptimWrapper',
    optimizer=dict(
        type='orl_mm.LARS', lr=0.3 * 4096 / 256, momentum=0.9, weight_decay=1e-6, eta=1e-3
    ),
    constructor='orl_mm.LARSConstructor',
)
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=10, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=300)
auto_scale_lr = dict(base_batch_size=4096, enable=False)
