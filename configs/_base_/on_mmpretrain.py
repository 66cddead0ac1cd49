# What a config that inherits from mmpretrain::... adds, beside its data, to be resumable bit for
# bit: every draw a function of seed, epoch and image (SetEpochHook with SeedSample in the
# pipeline) or of seed, rank and step (SeedStepHook: MoCo's shuffled batches).
custom_imports = dict(imports=['orl_mm'], allow_failed_imports=False)
custom_hooks = [
    dict(type='orl_mm.PlainBNOnCPUHook'),
    dict(type='orl_mm.SetEpochHook'),
    dict(type='orl_mm.SeedStepHook'),
]
