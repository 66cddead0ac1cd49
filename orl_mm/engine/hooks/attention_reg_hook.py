"""Guide attention heads of a self-supervised ViT to named parts: MeDINO = DINO + this hook."""

from collections.abc import Sequence
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor, nn

from orl_mm.models.utils.attention import (
    SCALES,
    SIGNS,
    attention_diagnostics,
    attention_reg_terms,
    attention_spread_loss,
    template_average_precision,
)
from orl_mm.models.utils.cls_attention_reader import ClsAttentionReader
from orl_mm.progress import iteration, unwrapped_model
from orl_mm.registry import HOOKS
from orl_mm.schedules import Schedule, position
from orl_mm.structures.template_batch import TemplateBatch

DEFAULT_HEADS = {0: 'left_lung', 1: 'right_lung', 2: 'heart'}  # sides are the patient's


@HOOKS.register_module()
class AttentionRegHook(Hook):
    r"""Add :math:`-\lambda_1 \sum a k + \lambda_2 \sum a (1 - k)` to the losses of a model.

    Section 3.2 of the thesis. A forward hook on the last block's ``qkv`` gives the CLS row a of
    the student (fused attention stays fused); a forward hook on the model adds
    ``loss_attn_inside`` and ``loss_attn_outside`` to the dict that ``mode='loss'`` returns, under
    DDP too. Any algorithm whose ``backbone`` is a ViT of mmpretrain can be used without a
    subclass.

    Templates are in the data samples, ``template`` (V, R, h, w) and ``parts``, see
    :class:`TemplateBatch`. Their V views are the first V entries of ``inputs`` (the global
    crops). h x w is the patch grid or a multiple of it, such as the size of the view.

    The backbone must see the views in order: view after view, joined or not (``rows='view'``),
    or image after image, as in mmpretrain's SimCLR (``'sample'``). Passes without gradient
    (momentum encoders that share the backbone) are ignored. If the student sees fewer views, as
    in MoCo, only those are guided.

    The head map is written to ``meta['attention_heads']`` of each checkpoint unless all
    strengths are 0; read it with :func:`stored_head_map`.

    Args:
        heads (dict, optional): Head -> name of its part; other heads are not guided. None guides
            none. A derived config's dict is merged into the inherited one; with
            ``_delete_=True`` among its keys it replaces it.
        lambda1, lambda2 (float or dict): Strengths, or arguments of :class:`Schedule` with
            ``epochs`` for ``points``. The thesis swept 1e-6 to 1e-2. Both 0: only diagnostics.
        spread (float or dict): Strength of ``attention_spread_loss`` (0 in the thesis), which
            keeps heads from concentrating on CLS or a few patches of their part.
        scale (str): ``'pixel_sum'``, ``'patch_sum'`` or ``'mean'``.
        sign (str): ``'guide'`` or ``'as_printed'``, see ``attention_reg_loss``.
        skip_empty (bool): Images without a part do not guide its head; otherwise they drive it
            to CLS.
        rows (str): See above.
        backbone (str): Attribute path of the student's ViT in the model.
        layer (int): The block.
        interval (int): Iterations between readings of attention inside, outside, on CLS,
            coverage (``attention_diagnostics``) and AP against the template, per head.
        ap_images (int): Number of rows that the AP is averaged over; 0: no AP.

    Attributes:
        strengths (tuple): lambda1, lambda2 and spread of the current iteration.

    Raises:
        ValueError: An unknown option; at the start of training, a head that the block does not
            have or a backbone without CLS attention; in a step, no template, one of another
            shape or range, or one without a part of ``heads``.
    """

    priority = 'NORMAL'

    def __init__(
        self,
        heads: dict[int, str] | None = DEFAULT_HEADS,
        lambda1: float | dict = 1e-3,
        lambda2: float | dict = 1e-3,
        spread: float | dict = 0.0,
        scale: str = 'pixel_sum',
        sign: str = 'guide',
        skip_empty: bool = True,
        rows: str = 'view',
        backbone: str = 'backbone',
        layer: int = -1,
        interval: int = 50,
        ap_images: int = 8,
    ) -> None:
        for name, value, legal in (
            ('scale', scale, SCALES),
            ('sign', sign, SIGNS),
            ('rows', rows, ('view', 'sample')),
        ):
            if value not in legal:
                raise ValueError(f'{name} must be one of {legal}, got {value!r}')
        self.heads = {} if heads is None else _head_map(heads)
        self.lambdas = tuple(Schedule.build(value) for value in (lambda1, lambda2, spread))
        self.options: dict[str, Any] = dict(scale=scale, sign=sign, skip_empty=skip_empty)
        self.rows, self.backbone, self.layer = rows, backbone, layer
        self.interval, self.ap_images = interval, ap_images
        self._handles: list = []
        self.strengths = (0.0, 0.0, 0.0)
        self._log = self._active = False
        self._readings: dict[str, float] = {}

    def before_train(self, runner: Runner) -> None:
        """Register with the student's block and with the model."""
        self._remove()
        if not self.heads:
            print_log('No head is guided: heads=None', logger='current')
            return
        model = unwrapped_model(runner)
        self._reader = ClsAttentionReader(model.get_submodule(self.backbone), self.layer)
        wrong = [head for head in self.heads if head >= self._reader.num_heads]
        if wrong:
            raise ValueError(
                f'heads {self.heads} assigns {wrong}, but the block has '
                f'{self._reader.num_heads} heads, 0 to {self._reader.num_heads - 1}'
            )
        self._reader.attach()
        self._handles = [
            model.register_forward_pre_hook(self._prepare, with_kwargs=True),
            model.register_forward_hook(self._add, with_kwargs=True),
        ]
        self._checked = False
        for name, schedule in zip(('lambda1', 'lambda2', 'spread'), self.lambdas, strict=True):
            if len(schedule.values) > 1 or schedule.warmup:
                schedule.warn_if_unfit(name, position(runner, 0, smooth=True)[1])
        print_log(
            f'Guided heads: {self.heads}; lambda1, lambda2, spread = {self.lambdas}',
            logger='current',
        )

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Set the strengths of this iteration."""
        at = position(runner, iteration(runner, batch_idx), smooth=True)
        self.strengths = tuple(schedule(*at) for schedule in self.lambdas)
        self._log = batch_idx == 0 or self.every_n_inner_iters(batch_idx, self.interval)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs=None
    ) -> None:
        """Log the diagnostics of the forward pass."""
        for name, value in self._readings.items():
            runner.message_hub.update_scalar(f'train/{name}', value)
        self._readings = {}

    def after_train(self, runner: Runner) -> None:
        """Leave the model as it was."""
        self._remove()

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Store the head map for evaluation, unless the heads were not guided."""
        if not self.heads or not any(any(schedule.values) for schedule in self.lambdas):
            return
        checkpoint.setdefault('meta', {})['attention_heads'] = dict(self.heads)

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Log it if the heads of a checkpoint had other parts."""
        before = stored_head_map(checkpoint)
        if before is not None and before != self.heads:
            print_log(
                f'The checkpoint was trained with heads {before}, this run assigns {self.heads}',
                logger='current',
                level=30,
            )

    def _prepare(self, model: nn.Module, args: tuple, kwargs: dict) -> None:
        """Before the forward pass: read the attention of the guided views."""
        self._active = (
            model.training
            and _argument(args, kwargs, 'mode', 2) == 'loss'
            and (any(self.strengths) or self._log)
        )
        if self._active:
            inputs = _argument(args, kwargs, 'inputs', 0)
            views = list(inputs) if isinstance(inputs, (list, tuple)) else [inputs]
            self._template = self._template_of(_argument(args, kwargs, 'data_samples', 1), views)
            self._reader.start(limit=len(self._template), needs_grad=True)

    def _add(self, model: nn.Module, args: tuple, kwargs: dict, losses: dict) -> dict | None:
        """After the forward pass: add the terms of the regularizer to the losses."""
        if not self._active:
            return None
        self._active = False
        attn, template = self._reader.take(), self._template
        del self._template
        if attn is None or len(attn) % self._batch:
            found = 0 if attn is None else len(attn)
            raise ValueError(
                f'{found} rows of attention were read in this step, for '
                f'{len(template)} guided views of {self._batch} images: the student '
                f'must be model.{self.backbone} and see whole views with gradient'
            )
        template = template[: len(attn)].to(attn.device)
        if self.rows == 'sample':
            views = len(attn) // self._batch
            attn = attn.unflatten(0, (self._batch, views)).transpose(0, 1).flatten(0, 1)
        heads = list(self.heads)
        lambda1, lambda2, spread = self.strengths
        if any(self.strengths):
            inside, outside = attention_reg_terms(
                attn,
                template,
                heads,
                lambda1,
                lambda2,
                patch_size=self._reader.patch_size,
                **self.options,
            )
            losses = dict(losses, loss_attn_inside=inside, loss_attn_outside=outside)
        if spread:
            losses['loss_attn_spread'] = spread * attention_spread_loss(attn, template, heads)
        if self._log:
            self._readings = self._read(attn.detach(), template, heads)
        return losses

    def _template_of(self, samples: Sequence | None, views: list[Tensor]) -> Tensor:
        """Templates (V B, heads, h, w) on the patch grid, view after view."""
        batch = TemplateBatch(samples, views[0].device)
        guided = views[: batch.num_views]
        if batch.num_views > len(views) or any(x.shape != views[0].shape for x in guided):
            raise ValueError(
                f'template has {batch.num_views} views: the inputs must begin with as '
                f'many of one size, got {[tuple(x.shape) for x in views]}'
            )
        if self.rows == 'sample' and len(guided) < len(views):
            raise ValueError(
                f"rows='sample' needs a template for every view, got {len(guided)} of {len(views)}"
            )
        if not self._checked:
            batch.check_range()
            self._checked = True
        self._batch = len(batch)
        return batch.on_grid(list(self.heads.values()), self._reader.grid(views[0]))

    def _read(self, attn: Tensor, template: Tensor, heads: list[int]) -> dict[str, float]:
        diagnostics = attention_diagnostics(attn, template, heads)
        values = torch.stack(diagnostics).tolist()
        readings = {'lambda1': self.strengths[0], 'lambda2': self.strengths[1]}
        named = dict(zip(diagnostics._fields, values, strict=False))
        if self.ap_images:
            n = self.ap_images
            named['ap'] = template_average_precision(attn[:n], template[:n], heads)
        for what, per_part in named.items():
            for (head, part), value in zip(self.heads.items(), per_part, strict=False):
                if value == value:  # NaN: no image shows the part
                    readings[f'attn_{what}/{head}_{part}'] = value
        empty = (template.flatten(2).amax(-1) == 0).float().mean().item()
        readings['attn_empty_templates'] = empty
        return readings

    def _remove(self) -> None:
        for handle in self._handles:
            handle.remove()
        if self._handles:
            self._reader.detach()
        self._handles = []


def stored_head_map(checkpoint: dict) -> dict[int, str] | None:
    """Head map that a checkpoint was trained with; None if no head was guided."""
    return checkpoint.get('meta', {}).get('attention_heads')


def _head_map(heads: dict) -> dict[int, str]:
    """Convert heads to integers; command lines give them as text."""
    try:
        found = {int(str(head)): str(part) for head, part in heads.items()}
    except (AttributeError, TypeError, ValueError):
        found = {}
    if found and len(found) < len(heads):
        raise ValueError(f'heads gives one head two parts: {heads!r}; keys are integers, each once')
    if not found or min(found) < 0:
        raise ValueError(
            f'heads must map numbers of heads from 0 on to names of parts, such as '
            f'{DEFAULT_HEADS}, or be None for no guidance, got {heads!r}'
        )
    return found


def _argument(args: tuple, kwargs: dict, name: str, position: int):
    """Argument of ``BaseModel.forward(inputs, data_samples, mode)``, by keyword or position."""
    return kwargs[name] if name in kwargs else args[position] if len(args) > position else None
