from . import cpu_ddp, hooks, optimizers, schedulers  # noqa: F401
