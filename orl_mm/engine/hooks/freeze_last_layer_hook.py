"""Hold a layer for the first epochs."""

from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.engine.progress import epoch_at, iteration, unwrapped_model
from orl_mm.engine.step_hook import before_optimizer_step
from orl_mm.registry import HOOKS


@HOOKS.register_module()
class FreezeLastLayerHook(Hook):
    """Drop the gradients of a layer just before the optimiser's step, in the first epochs.

    The parameters keep ``requires_grad``, so that DDP's buckets are the same throughout,
    and have no gradient rather than a zero one: AdamW then neither decays them nor counts
    a step, as in the reference.

    Args:
        epochs (int): How many epochs. 0: none.
        name (str): Part of the parameters' names; prototypes of ``DINOHead`` by default.

    Raises:
        ValueError: A negative number of epochs; at the start of training, no trainable
            parameter has the name.

    Source: ``utils.py``, ``cancel_gradients_last_layer``, of facebookresearch/dino.
    """

    priority = 'NORMAL'

    def __init__(self, epochs: int = 1, name: str = 'last_layer') -> None:
        if epochs < 0:
            raise ValueError(f'epochs must not be negative, got {epochs}')
        self.epochs, self.name = epochs, name
        self._handle, self._frozen = None, False

    def before_train(self, runner: Runner) -> None:
        """Find the layer."""
        model = unwrapped_model(runner)
        self._params = [
            p for name, p in model.named_parameters() if self.name in name and p.requires_grad
        ]
        if not self._params:
            raise ValueError(
                f'no trainable parameter of {type(model).__name__} has {self.name!r} '
                'in its name: correct name=, or take FreezeLastLayerHook out'
            )
        self.after_train(runner)
        self._handle = before_optimizer_step(runner, self._drop)

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Frozen or not, by the epoch."""
        self._frozen = epoch_at(runner, iteration(runner, batch_idx)) < self.epochs

    def after_train(self, runner: Runner) -> None:
        """Let go of the optimiser."""
        if self._handle is not None:
            self._handle.remove()
            self._handle = None

    def _drop(self, *_) -> None:
        if self._frozen:
            for param in self._params:
                param.grad = None
