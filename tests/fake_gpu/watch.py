"""Count what a step asks of a device: operators launched, waits of the host, copies."""

import re
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch._subclasses.fake_tensor import FakeTensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

ROOT = f'{Path(__file__).resolve().parents[2]}/'
# The shape of the result, or the result itself, depends on values of the device.
WAITS = re.compile(
    'nonzero|_unique2|unique_dim|unique_consecutive|masked_select|bincount|'
    'equal|is_nonzero|histc|linalg_eigh|_linalg_eigh'
).fullmatch
INDEX = {'index', 'index_put', 'index_put_', '_index_put_impl_'}
COPIES = {'_to_copy', 'copy_', '_copy_from'}
# No kernel is launched.
FREE = re.compile(
    'view|reshape|_unsafe_view|_reshape_alias|permute|transpose|t|expand|unsqueeze|squeeze|slice|'
    'select|detach|alias|as_strided|split|split_with_sizes|chunk|unbind|unfold|view_as|expand_as|'
    'flatten|unflatten|diagonal|empty|empty_like|new_empty|empty_strided|new_empty_strided|'
    'lift_fresh|is_same_size|sym_size|set_|device|dtype|layout'
).fullmatch
# Operators without a formula for shapes: how many (C,) results they have, None: like the input.
BATCH_NORM = {
    'batch_norm_stats': 2,
    'batch_norm_gather_stats': 2,
    'batch_norm_gather_stats_with_counts': 2,
    'batch_norm_elemt': None,
    'batch_norm_backward_reduce': 4,
    'batch_norm_backward_elemt': None,
}
_INTERNAL = '/torch/utils/_', '/torch/_', '_subclasses', '/torch/nn/functional', '/torch/_tensor'


class Event:
    """``torch.cuda.Event`` of the stand-in."""

    waits = 0

    def __init__(self, *args, **kwargs) -> None:
        pass

    def record(self, *args) -> None:
        """Nothing is queued."""

    def synchronize(self) -> None:
        """Only counted: waiting for what was queued a step ago costs nothing."""
        Event.waits += 1

    def elapsed_time(self, other: 'Event') -> float:
        """Milliseconds."""
        return 1.0

    def query(self) -> bool:
        """It has passed."""
        return True


class Watch(TorchDispatchMode):
    """Counts while active, around operators on tensors of FakeTensorMode.

    Attributes:
        operators (dict): Region of the step -> Counter of operator names.
        waits (Counter): What the host waited for and where. Copies that block, or
            whose host memory is not pinned, are among them.
        copies (Counter): All copies between host and device.
        region (str): The current part of the step, see :meth:`within`.
    """

    def __init__(self) -> None:
        super().__init__()
        self.region = 'other'
        self.clear()

    def clear(self) -> None:
        """Start again from zero."""
        self.operators: dict[str, Counter] = defaultdict(Counter)
        self.waits: Counter = Counter()
        self.copies: Counter = Counter()
        Event.waits = 0

    def within(self, owner: object, name: str, region: str) -> None:
        """Attribute operators launched by ``owner.name(...)`` to a region, from now on."""
        function: Callable = getattr(owner, name)

        def counted(*args, **kwargs):
            with self.part(region):
                return function(*args, **kwargs)

        setattr(owner, name, counted)

    def capture(self, function: Callable[[], None]) -> Callable[[], None]:
        """Stands in for a CUDA graph: each replay counts as one operator."""
        function()

        def replay() -> None:
            operators, self.operators = self.operators, defaultdict(Counter)
            function()
            self.operators = operators
            self.operators[self.region]['graph'] += 1

        return replay

    @contextmanager
    def part(self, region: str) -> Iterator[None]:
        """Attribute what is launched here to ``region``."""
        outer, self.region = self.region, region
        try:
            yield
        finally:
            self.region = outer

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = func._schema.name.split('::')[1]
        devices = {x.device.type for x in tree_leaves((args, kwargs)) if torch.is_tensor(x)}
        made_on = kwargs.get('device')
        if not FREE(name) and (
            'cuda' in devices or (made_on is not None and torch.device(made_on).type == 'cuda')
        ):
            self.operators[self.region][name] += 1
        if name in COPIES:
            self._copy(name, args, kwargs)
        if name == '_local_scalar_dense' and isinstance(args[0], FakeTensor):
            if 'cuda' in devices:
                self.waits[f'{name}, {_where()}'] += 1
            return 1
        if 'cuda' not in devices:
            return func(*args, **kwargs)
        if name in INDEX:
            indices = [i for i in args[1] if i is not None]
            if any(i.dtype in (torch.bool, torch.uint8) for i in indices):
                self.waits[f'{name} by a mask, {_where()}'] += 1
                return torch.empty_like(args[0]) if name == 'index' else args[0]
            if any(i.device.type == 'cpu' for i in indices):
                self.waits[f'{name} by indices of the host, {_where()}'] += 1
        if WAITS(name) or func._overloadname == 'Tensor' and name == 'repeat_interleave':
            self.waits[f'{name}, {_where()}'] += 1
        if name == 'nonzero':
            return args[0].new_empty((args[0].numel(), args[0].dim()), dtype=torch.int64)
        if name in BATCH_NORM:
            results, x = BATCH_NORM[name], args[0]
            if results is None:
                return torch.empty_like(x)
            return tuple(torch.empty(x.shape[1], device='cuda') for _ in range(results))
        return func(*args, **kwargs)

    def _copy(self, name: str, args: tuple, kwargs: dict) -> None:
        source = args[0] if name == '_to_copy' else args[1]
        target = kwargs.get('device') if name == '_to_copy' else args[0].device
        ends = source.device.type, torch.device(target or source.device).type
        if ends[0] == ends[1]:
            return
        free = kwargs.get('non_blocking') or len(args) > 2 and args[2]
        to_new = name == '_to_copy' and ends[1] == 'cpu'  # torch pins it
        pinned = to_new or getattr(source if ends[0] == 'cpu' else args[0], 'pinned', False)
        how = '' if free and pinned else ' of pageable memory' if free else ', blocking'
        where = f'{ends[0]} to {ends[1]}{how}, {_where()}'
        self.copies[where] += 1
        if how:
            self.waits[f'copy {where}'] += 1

    def report(self) -> str:
        """The counts as lines of text."""
        lines = [f'WAIT {n} {where}' for where, n in self.waits.most_common()]
        lines += [f'COPY {n} {where}' for where, n in self.copies.most_common()]
        for region, counts in self.operators.items():
            lines.append(f'OPS {region} {counts.total()} {counts.most_common(14)}')
        total = sum(counts.total() for counts in self.operators.values())
        lines.append(f'TOTAL {total} operators, {self.waits.total()} waits, {Event.waits} events')
        return '\n'.join(lines)


def _where() -> str:
    """The innermost line of this project, and that of the library below it."""
    frame, leaf = sys._getframe(2), ''
    while frame is not None:
        path = frame.f_code.co_filename
        if path.startswith(ROOT) and 'fake_gpu' not in path and 'site-packages' not in path:
            return f'{path.removeprefix(ROOT)}:{frame.f_lineno} {leaf}'.rstrip()
        if not leaf and 'site-packages' in path and not any(part in path for part in _INTERNAL):
            leaf = f'{path.split("site-packages/")[1]}:{frame.f_lineno}'
        frame = frame.f_back
    return leaf


def patch_torch() -> None:
    """Pinned memory, events and support of bfloat16, which a build without a GPU refuses."""
    empty = torch.empty

    def empty_maybe_pinned(*args, pin_memory: bool = False, **kwargs):
        out = empty(*args, **kwargs)
        out.pinned = pin_memory
        return out

    def pin_memory(self, *args):
        out = self.view_as(self)
        out.pinned = True
        return out

    torch.empty = empty_maybe_pinned
    torch.Tensor.pin_memory = pin_memory
    torch.cuda.Event = Event
    torch.cuda.get_device_capability = lambda *args: (9, 0)
    torch.cuda.is_bf16_supported = lambda *args, **kwargs: True
    torch.cuda.amp.common.amp_definitely_not_available = lambda: False
