from . import cpu_ddp, hooks, optimizers, pretrained_backbone, vit_init
