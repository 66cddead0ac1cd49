from . import cpu_ddp, hooks, optimizers
