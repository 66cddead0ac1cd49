from .k_schedule import KSchedule
from .warmup_cosine_lr import WarmupCosineLR

__all__ = ['KSchedule', 'WarmupCosineLR']
