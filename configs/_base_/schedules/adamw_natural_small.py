# 12 epochs of 36 steps from scratch, which are too few for LARS at the thesis's learning rate.
# bfloat16, which is fast on processors with AMX. For fp32: --cfg-options
# optim_wrapper.type=OptimWrapper.
optim_wrapper = dict(
    type='orl_mm.BFloat16OptimWrapper', optimizer=dict(type='AdamW', lr=1e-3, weight_decay=0.05)
)
param_scheduler = [
    dict(type='orl_mm.WarmupCosineLR', warmup=1, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(type='EpochBasedTrainLoop', max_epochs=12)
auto_scale_lr = dict(base_batch_size=32, enable=False)
