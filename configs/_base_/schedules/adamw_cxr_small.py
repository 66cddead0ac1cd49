# 10 epochs of 36 steps from scratch; the thesis's settings would learn too little in so few steps.
# bfloat16, which is fast on processors with AMX. For fp32: --cfg-options
# optim_wrapper.type=OptimWrapper.
_base_ = './adamw_dino_100e.py'

optim_wrapper = dict(type='orl_mm.BFloat16OptimWrapper', optimizer=dict(lr=1e-3, weight_decay=0.04))
_lr, _decay = _base_.param_scheduler
_lr.update(warmup=2, final=1e-5)
_decay.update(final=0.1)
param_scheduler = [_lr, _decay]
train_cfg = dict(max_epochs=10)
auto_scale_lr = dict(base_batch_size=16, enable=False)
