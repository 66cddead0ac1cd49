"""Pass the head map of a checkpoint to the metrics."""

from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from orl_mm.progress import unwrapped_model
from orl_mm.registry import HOOKS

from .attention_reg_hook import stored_head_map


@HOOKS.register_module()
class StoredHeadsHook(Hook):
    """Give ``meta['attention_heads']`` of the checkpoint to the metrics, and log it.

    They are set as ``stored_heads`` of all metrics of the test and validation evaluators that
    have this attribute, such as ``AttentionAP``; None if no head was guided.

    Raises:
        ValueError: On loading, a head beyond the model's ``num_heads``.
    """

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """After the file is read, before its weights are loaded into the model."""
        heads = stored_head_map(checkpoint)
        num_heads = getattr(unwrapped_model(runner), 'num_heads', None)
        if num_heads is not None and any(head >= num_heads for head in heads or ()):
            raise ValueError(
                f'the checkpoint guided the heads {heads}, but this model has '
                f'{num_heads} heads, 0 to {num_heads - 1}: use the backbone config '
                'it was trained with'
            )
        print_log(
            'The checkpoint names no heads: the best head of each part counts'
            if heads is None
            else f'Heads by the checkpoint: {heads}',
            logger='current',
        )
        for loop in (runner._test_loop, runner._val_loop):  # plain configs where not built
            for metric in getattr(getattr(loop, 'evaluator', None), 'metrics', ()):
                if hasattr(metric, 'stored_heads'):
                    metric.stored_heads = heads
