# Thesis: lr 1e-3 per 256 images, 30 epochs; otherwise DINO's. Its "Adam" is read as AdamW.
_base_ = './adamw_dino_100e.py'

optim_wrapper = dict(optimizer=dict(lr=1e-3 * 224 / 256))
train_cfg = dict(max_epochs=30)
auto_scale_lr = dict(base_batch_size=224, enable=False)
