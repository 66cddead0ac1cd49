"""Schedule the number of objects K of the mask refinement and log what becomes of it."""

import math
from collections.abc import Sequence

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from orl_mm.models.utils.diagnostics import count_objects, effective_rank, embedding_spread
from orl_mm.progress import by_epoch, epoch_at, iteration, total_epochs, unwrapped_model
from orl_mm.registry import HOOKS
from orl_mm.schedules import ParamSchedule, Schedule


@HOOKS.register_module()
class KMeansRefineHook(Hook):
    r"""Set K of the mask refinement by epoch, and log statistics of the refined masks.

    K is a pure function of the epoch (thesis, section 2.3; projects/r2o/README.md, row 1) and is
    written to ``model.refiner.num_clusters``; None there turns clustering off. The clustering
    itself is a call in ``R2O.loss()``. With ``lr_factor_base`` b, :class:`ParamSchedule`
    multiplies the learning rate by K / b (row 2).

    Every ``interval`` iterations it reads ``model.last`` and logs, as ``train/...``, for the main
    process's mini-batch:

    ================= =====================================================
    num_clusters      K
    regions_per_image objects in an image, at most K
    valid_pairs       M': objects seen in both views, mean over images
    empty_clusters    clusters without any pixel in the mini-batch
    embedding_std     spread of the target's embeddings, 1: isotropic, 0: all equal
    effective_rank    effective rank of those embeddings, of 256
    clustering_time   seconds of the clustering, including C4 of x0
    network_time      seconds of the rest of the iteration, without data_time
    ================= =====================================================

    Args:
        schedule (dict, optional): Arguments of :class:`Schedule`, with ``epochs`` for ``points``.
            As in the authors' code, epochs count from 1; ``'cosine'`` is a quarter of a cosine
            (``'quarter_cosine'`` of :class:`Schedule`: 128 to 4 is 91 at half of the run), not
            the half cosine of the learning rate; and ``'linear'`` extrapolates outside its points,
            where other schedules stay constant. The value is truncated to an integer of at least
            1. None as a value turns clustering off. Default: the refiner's own K.
            ``off_above`` (in the dict): largest K that is clustered, 128 by default as in the
            public code; None: no limit.
        lr_factor_base (float, optional): b; 16 in the public code. None: no factor.
        interval (int): Iterations between readings.
        collapse_std (float): Warn below this spread of the embeddings.
        collapse_regions (float): Warn when images have fewer objects on average,
            although K is larger.
        warn_interval (int): Iterations between two equal warnings.

    Raises:
        TypeError: The model has no refiner with ``num_clusters``.
        ValueError: A K that is no positive integer; a factor for a schedule that turns clustering
            off, or without a
            :class:`ParamSchedule` of the learning rate to apply it.
    """

    # After IterTimerHook, before LoggerHook.
    priority = 'NORMAL'

    def __init__(
        self,
        schedule: dict | None = None,
        lr_factor_base: float | None = None,
        interval: int = 50,
        collapse_std: float = 0.1,
        collapse_regions: float = 1.05,
        warn_interval: int = 1000,
    ) -> None:
        if interval < 1:
            raise ValueError(f'interval must be at least 1 iteration, got {interval}')
        if lr_factor_base is not None and lr_factor_base <= 0:
            raise ValueError(
                f'lr_factor_base must be positive, got {lr_factor_base}; leave it out for no factor'
            )
        self.schedule: Schedule | None = None
        self.off_above: float | None = None
        if schedule is not None:
            schedule = dict(schedule)
            self.off_above = schedule.pop('off_above', 128)
            kind = schedule.get('type', 'linear')
            schedule['type'] = 'quarter_cosine' if kind == 'cosine' else kind
            self.schedule = Schedule.build(schedule, extrapolate=kind == 'linear')
            wrong = [k for k in self.schedule.values if k is not None and (k < 1 or k % 1)]
            if wrong:
                raise ValueError(
                    f'values of K must be positive integers, or None for no clustering, got {wrong}'
                )
        self.lr_factor_base, self.interval = lr_factor_base, interval
        self.collapse_std, self.collapse_regions = collapse_std, collapse_regions
        self.warn_interval = warn_interval
        self._warned: dict[str, int] = {}

    def k_at(self, epoch: int, end: int | None = None) -> int | None:
        """K of an epoch, counted from 0, of a run of ``end`` epochs; None: clustering is off."""
        assert self.schedule is not None
        value = self.schedule(epoch + 1, end)
        if value is None or (self.off_above is not None and int(value) > self.off_above):
            return None
        return max(int(value), 1)

    def before_train(self, runner: Runner) -> None:
        """Check the model and the schedule, set K and the factor of the learning rate."""
        self._warned = {}
        model = unwrapped_model(runner)
        if not hasattr(getattr(model, 'refiner', None), 'num_clusters'):
            raise TypeError(
                f'{type(model).__name__} has no refiner.num_clusters to schedule: '
                'remove KMeansRefineHook, or train orl_mm.R2O'
            )
        if self.schedule is None:
            self.schedule = Schedule([model.refiner.num_clusters], 'constant')
        end = total_epochs(runner)
        self.schedule.warn_if_unfit('K', end)
        off = [epoch + 1 for epoch in range(end) if self.k_at(epoch, end) is None]
        if off:
            runner.logger.warning(
                f'{self.schedule} turns clustering off in {len(off)} epochs, {off[0]} to '
                f'{off[-1]}: the superpixels themselves are the masks there.'
            )
        if self.lr_factor_base is not None:
            self._multiply_rate(runner, self.lr_factor_base, off)
        self._set(runner, iteration(runner, 0))

    def before_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: dict | tuple | list | None = None
    ) -> None:
        """Set K at the start of an epoch, or in every iteration of a loop by iterations."""
        if batch_idx == 0 or not by_epoch(runner):
            self._set(runner, iteration(runner, batch_idx))

    def after_train_iter(
        self,
        runner: Runner,
        batch_idx: int,
        data_batch: dict | tuple | list | None = None,
        outputs: dict | Sequence | None = None,
    ) -> None:
        """Read the last step and log it."""
        due = self.every_n_inner_iters(batch_idx, self.interval) or (
            batch_idx + 1 == len(runner.train_dataloader) <= self.interval
        )
        last = getattr(unwrapped_model(runner), 'last', None)
        if not due or last is None or not is_main_process():
            return
        scalars = self._read(runner, last)
        for name, value in scalars.items():
            if not math.isnan(value):
                runner.message_hub.update_scalar(f'train/{name}', value)
        self._warn_of_collapse(runner, scalars)

    def _k(self, runner: Runner, step: int) -> int | None:
        return self.k_at(epoch_at(runner, step), total_epochs(runner))

    def _set(self, runner: Runner, step: int) -> None:
        unwrapped_model(runner).refiner.num_clusters = self._k(runner, step)

    def _multiply_rate(self, runner: Runner, base: float, off: Sequence[int]) -> None:
        if off:
            raise ValueError(
                f'the learning rate cannot be multiplied by K / {base} while {self.schedule} '
                f'turns clustering off (epoch {off[0]}): lower the values, or lr_factor_base=None'
            )
        schedulers = runner.param_schedulers or []
        if isinstance(schedulers, dict):  # several optimizers
            schedulers = [one for many in schedulers.values() for one in many]
        rates = [s for s in schedulers if isinstance(s, ParamSchedule) and s.param_name == 'lr']
        if not rates:
            raise ValueError(
                f'lr_factor_base={base} needs a scheduler in closed form: '
                'param_scheduler=dict(type="orl_mm.WarmupCosineLR", ...)'
            )
        for scheduler in rates:
            scheduler.set_factor(lambda step: (self._k(runner, step) or 0) / base)

    def _read(self, runner: Runner, last) -> dict[str, float]:
        k = unwrapped_model(runner).refiner.num_clusters
        counts = count_objects(last.labels0)
        valid = last.valid.flatten()
        rows = last.embeddings.float()
        if len(rows) == len(valid):  # the public code's rows: absent regions, too
            rows = rows[valid]
        scalars = dict(
            num_clusters=last.num_clusters,
            regions_per_image=counts.per_image,
            valid_pairs=float(valid.sum()) / len(last.valid),
        )
        if k is not None:
            scalars.update(empty_clusters=last.num_clusters - counts.used)
        scalars.update(embedding_std=embedding_spread(rows), effective_rank=effective_rank(rows))
        scalars.update({f'{name}_time': read() for name, read in last.timers.items()})
        spent = [
            runner.message_hub.log_scalars.get(f'train/{name}') for name in ('time', 'data_time')
        ]
        if None not in spent and 'clustering_time' in scalars:
            whole, data = (float(history.current()) for history in spent)
            scalars['network_time'] = max(whole - data - scalars['clustering_time'], 0.0)
        return scalars

    def _warn_of_collapse(self, runner: Runner, scalars: dict[str, float]) -> None:
        k, per_image = scalars['num_clusters'], scalars['regions_per_image']
        if k > 1 and per_image < self.collapse_regions:
            self._warn(
                runner,
                'clusters',
                f'Clusters collapse: images have {per_image:.2f} '
                f'objects on average at K = {k}. The features of the whole image hardly '
                'differ; look at the pictures of the objects and at the loss.',
            )
        if scalars['embedding_std'] < self.collapse_std:
            self._warn(
                runner,
                'embeddings',
                f'Embeddings collapse: their spread is '
                f'{scalars["embedding_std"]:.3f} (1 is isotropic, 0 all equal). A lower '
                'learning rate or a longer warm-up may help.',
            )

    def _warn(self, runner: Runner, what: str, message: str) -> None:
        since = runner.iter - self._warned.get(what, -self.warn_interval)
        if since >= self.warn_interval:
            self._warned[what] = runner.iter
            runner.logger.warning(message)
