from .epoch_schedule import EpochSchedule
from .k_schedule import KSchedule
from .warmup_cosine_lr import WarmupCosineLR
from .warmup_cosine_param import WarmupCosineParam

__all__ = ['EpochSchedule', 'KSchedule', 'WarmupCosineLR', 'WarmupCosineParam']
