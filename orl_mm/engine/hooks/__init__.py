from .attention_reg_hook import AttentionRegHook
from .attention_visualization_hook import AttentionVisualizationHook
from .check_data_hook import CheckDataHook
from .dino_hooks import ClipEachGradHook, FreezeLastLayerHook
from .durable_checkpoint_hook import DurableCheckpointHook
from .feature_bank_hook import FeatureBankHook
from .frozen_features_hook import FrozenFeaturesHook
from .kmeans_refine_hook import KMeansRefineHook
from .momentum_update_hook import MomentumUpdateHook
from .nan_guard_hook import NaNGuardHook
from .object_visualization_hook import ObjectVisualizationHook
from .result_hook import ResultHook
from .save_initial_hook import SaveInitialHook
from .say_where_hook import SayWhereHook
from .seed_step_hook import SeedStepHook
from .set_epoch_hook import SetEpochHook
from .stored_heads_hook import StoredHeadsHook
from .sync_batch_norm_hook import SyncBatchNormHook
from .training_precise_bn_hook import TrainingPreciseBNHook

__all__ = [
    'AttentionRegHook',
    'AttentionVisualizationHook',
    'CheckDataHook',
    'ClipEachGradHook',
    'DurableCheckpointHook',
    'FeatureBankHook',
    'FreezeLastLayerHook',
    'FrozenFeaturesHook',
    'KMeansRefineHook',
    'MomentumUpdateHook',
    'NaNGuardHook',
    'ObjectVisualizationHook',
    'ResultHook',
    'SaveInitialHook',
    'SayWhereHook',
    'SeedStepHook',
    'SetEpochHook',
    'StoredHeadsHook',
    'SyncBatchNormHook',
    'TrainingPreciseBNHook',
]
