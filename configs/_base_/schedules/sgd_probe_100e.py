# eval_linear.py of github.com/facebookresearch/dino: SGD, lr 0.001 per 256 images, momentum 0.9,
# no weight decay, cosine to 0 by epoch, 100 epochs, 128 images per process.
optim_wrapper = dict(
    type='OptimWrapper', optimizer=dict(type='SGD', lr=0.001, momentum=0.9, weight_decay=0.0)
)
param_scheduler = [dict(type='CosineAnnealingLR', eta_min=0.0, by_epoch=True)]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=100, val_interval=10)
auto_scale_lr = dict(base_batch_size=256, enable=True)
