# 12 epochs of 36 steps from scratch. Thesis settings would not leave the start in so few.
_base_ = './adamw_dino_100e.py'

optim_wrapper = dict(optimizer=dict(lr=1e-3, weight_decay=0.04))
_lr, _decay = _base_.param_scheduler
_lr.update(warmup=2, final=1e-5, end=12)
_decay.update(final=0.1, end=12)
param_scheduler = [_lr, _decay]
train_cfg = dict(max_epochs=12)
auto_scale_lr = dict(base_batch_size=16, enable=False)
