from . import (cpu_ddp, hooks, optimizers, pretrained_backbone, schedulers,  # noqa: F401
               vit_init)
