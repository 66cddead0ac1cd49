# Hooks that make a config that inherits from mmpretrain::... resumable bit for bit: all random
# draws are functions of seed, epoch and image (SetEpochHook with SeedSample in the pipeline) or of
# seed, rank and step (SeedStepHook, for MoCo's shuffled batches).
custom_imports = dict(imports=['orl_mm'], allow_failed_imports=False)
custom_hooks = [
    dict(type='orl_mm.SyncBatchNormHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
]
