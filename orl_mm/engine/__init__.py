from . import cpu_ddp, hooks, optimizers, pretrained_backbone, schedulers, vit_init
