"""Batch normalization over all processes, on any device, without waiting for it."""

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import Function, once_differentiable

# Rows of a rank without any: CUDA's kernel divides by the rows of the ranks so far, so it cannot
# be 0, and it is too small to change a statistic.
_NO_ROWS = 2.0**-60
# Its name before torch 2.13.
_all_gather = getattr(dist, 'all_gather_single', None) or dist.all_gather_into_tensor


class SyncBatchNorm(nn.SyncBatchNorm):
    """``torch.nn.SyncBatchNorm`` that weights the statistics of each rank by its rows.

    torch's class removes ranks without rows by a mask, which makes the host wait for the device
    three times a call (pytorch issues 78549 and 78656), and it needs a GPU. Here such a rank has
    no weight. Output, gradients and running statistics are those of plain batch normalization of
    the joined batch, whatever number of rows each rank has. The state dict is that of torch's
    class. Only ``momentum=None`` waits, to read the number of batches.

    Every rank must enter the forward pass, and the backward pass if the input needs a gradient.

    Shape: input (N, C, ...) of floats; N may be 0. Half precision has statistics in fp32.
    """

    def forward(self, input: Tensor) -> Tensor:
        """Normalize; as plain batch normalization in a single process or in evaluation mode."""
        synced = self.training and dist.is_available() and dist.is_initialized()
        if not synced or dist.get_world_size(self.process_group) == 1:
            return super(nn.SyncBatchNorm, self).forward(input)
        self._check_input_dim(input)
        rate = self.momentum or 0.0
        if self.num_batches_tracked is not None:
            self.num_batches_tracked.add_(1)
            if self.momentum is None:
                rate = 1.0 / int(self.num_batches_tracked)
        affine, running = (self.weight, self.bias), (self.running_mean, self.running_var)
        group = self.process_group or dist.group.WORLD
        return _Normalize.apply(input, *affine, *running, rate, self.eps, group)


def use_weighted_sync_batch_norm(model: nn.Module) -> nn.Module:
    """Turn every layer with torch's SyncBN into :class:`SyncBatchNorm`, in place.

    A config cannot name the class, since ``sync_bn='torch'`` and ``norm_cfg=dict(type='SyncBN')``
    mean torch's. Optimizers, hooks and wrappers keep their references.
    """
    for module in model.modules():
        # Also mmengine's subclass, which has the same forward pass.
        if getattr(type(module), 'forward', None) is nn.SyncBatchNorm.forward:
            module.__class__ = SyncBatchNorm
    return model


class _Normalize(Function):
    """Fused kernels on CUDA, formulas elsewhere; C channels, "spread" is a (C,) of one rank:
    1 / standard deviation on CUDA, else the variance."""

    @staticmethod
    def forward(ctx, x, weight, bias, running_mean, running_var, rate, eps, group):
        x = _dense(x)
        channels, rows = x.shape[1], x.numel() // x.shape[1]
        axes = [axis for axis in range(x.dim()) if axis != 1]
        dtype = torch.promote_types(x.dtype, torch.float32)
        if not rows:
            mean, spread = x.new_zeros(channels, dtype=dtype), x.new_ones(channels, dtype=dtype)
        elif x.is_cuda:
            mean, spread = torch.batch_norm_stats(x, eps)
        else:
            spread, mean = torch.var_mean(x.to(dtype), axes, correction=0)
        local = torch.cat([mean, spread, mean.new_full((1,), rows or _NO_ROWS)])
        everywhere = local.new_empty(dist.get_world_size(group), len(local))
        if dist.get_backend(group) == 'gloo':  # cannot gather into one tensor
            dist.all_gather(list(everywhere), local, group=group)
        else:
            _all_gather(everywhere, local, group=group)
        means, spreads, counts = everywhere.split([channels, channels, 1], 1)
        if x.is_cuda:
            if running_mean is None:  # the kernel would take its type of counts from the input
                running_mean, running_var = torch.zeros_like(mean), torch.ones_like(mean)
            mean, spread = torch.batch_norm_gather_stats_with_counts(
                x, means, spreads, running_mean, running_var, rate, eps, counts.flatten()
            )
        else:
            total = counts.sum()
            share = counts / total
            mean = (share * means).sum(0)
            spread = (share * (spreads + (means - mean).square())).sum(0)
            if running_mean is not None:
                unbiased = spread * (total / (total - 1))
                running_mean.lerp_(mean.to(running_mean.dtype), rate)
                running_var.lerp_(unbiased.to(running_var.dtype), rate)
        ctx.eps, ctx.group, ctx.axes = eps, group, axes
        ctx.save_for_backward(x, weight, mean, spread, counts)
        if not rows:
            return torch.empty_like(x)
        if x.is_cuda:
            return torch.batch_norm_elemt(x, weight, bias, mean, spread, eps)
        weight, bias = (p if p is None else p.to(dtype) for p in (weight, bias))
        return F.batch_norm(x, mean, spread, weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, weight, mean, spread, counts = ctx.saved_tensors
        need_input, need_weight, need_bias = ctx.needs_input_grad[:3]
        grad, fused = _dense(grad), x.is_cuda
        grad_input = grad_weight = grad_bias = None
        shape = [1, -1] + [1] * (x.dim() - 2)
        invstd = spread if fused else (spread + ctx.eps).rsqrt()
        if not x.numel():
            sums = mean.new_zeros(2 * len(mean))
            grad_weight = torch.zeros_like(mean) if need_weight else None
            grad_bias = torch.zeros_like(mean) if need_bias else None
        elif fused:
            *sums, grad_weight, grad_bias = torch.batch_norm_backward_reduce(
                grad, x, mean, invstd, weight, need_input, need_weight, need_bias
            )
            sums = torch.cat(sums) if need_input else sums
        else:
            grad = grad.to(mean.dtype)
            centered = x.to(mean.dtype) - mean.view(shape)
            sum_grad, sum_product = grad.sum(ctx.axes), (grad * centered).sum(ctx.axes)
            sums = torch.cat([sum_grad, sum_product])
            if need_weight:
                grad_weight = sum_product * invstd
            grad_bias = sum_grad if need_bias else None
        if need_input:
            dist.all_reduce(sums, group=ctx.group)
            if not x.numel():
                grad_input = torch.empty_like(x)
            elif fused:
                weight = weight if weight is None else weight.to(mean.dtype)
                sum_grad, sum_product = sums.chunk(2)
                rows = counts.flatten().int()
                grad_input = torch.batch_norm_backward_elemt(
                    grad, x, mean, invstd, weight, sum_grad, sum_product, rows
                )
            else:
                sum_grad, sum_product = (sums / counts.sum()).chunk(2)
                scale = invstd if weight is None else invstd * weight.to(mean.dtype)
                centered *= (sum_product * invstd.square()).view(shape)
                grad_input = (grad - sum_grad.view(shape) - centered) * scale.view(shape)
                grad_input = grad_input.to(x.dtype)
        return grad_input, grad_weight, grad_bias, *[None] * 5


def _dense(x: Tensor) -> Tensor:
    """The tensor in a layout of the kernels: contiguous or channels-last."""
    last = {4: torch.channels_last, 5: torch.channels_last_3d}.get(x.dim())
    kept = last is not None and x.is_contiguous(memory_format=last)
    return x if kept else x.contiguous()
