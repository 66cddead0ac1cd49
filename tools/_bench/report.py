"""Figures beside their targets: a table on the screen, JSON in a file."""

import json
import math
import os
import platform
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch


@dataclass
class Figure:
    """One measured value.

    Attributes:
        name (str): What was measured; a ratio says which side is on top.
        value (float): Finite.
        unit (str): ``'x'`` for a ratio.
        target (float, optional): None: reported only.
        sense (str): The target is met by ``'at most'`` or ``'at least'`` it.
        note (str): Conditions: sizes, spread, times of both sides.
    """

    name: str
    value: float
    unit: str = 'x'
    target: float | None = None
    sense: str = 'at most'
    note: str = ''

    @property
    def met(self) -> bool | None:
        """Whether the target is reached; None without one."""
        if self.target is None:
            return None
        return self.value <= self.target if self.sense == 'at most' else self.value >= self.target


@dataclass
class Report:
    """What one benchmark found.

    Attributes:
        benchmark (str): Its name.
        settings (dict): Sizes and options of this run.
        figures (list[Figure]): In the order of the table.
        details (dict): Anything else worth keeping, such as the raw times.
    """

    benchmark: str
    settings: dict[str, object]
    figures: list[Figure] = field(default_factory=list)
    details: dict[str, object] = field(default_factory=dict)

    def add(self, name: str, value: float, **kwargs) -> None:
        """Append a :class:`Figure`."""
        self.figures.append(Figure(name, float(value), **kwargs))

    def table(self) -> str:
        """The figures as a Markdown table."""
        rows = [('figure', 'measured', 'target', 'met', 'note')]
        for f in self.figures:
            unit = '' if f.unit == 'x' else f' {f.unit}'
            target = '' if f.target is None else f'{f.sense} {f.target:g}{unit}'
            met = {None: '', True: 'yes', False: 'NO'}[f.met]
            rows.append((f.name, f'{_short(f.value)}{unit}', target, met, f.note))
        widths = [max(len(row[i]) for row in rows) for i in range(5)]
        lines = [
            '| ' + ' | '.join(c.ljust(w) for c, w in zip(row, widths, strict=False)) + ' |'
            for row in rows
        ]
        lines.insert(1, '|' + '|'.join('-' * (w + 2) for w in widths) + '|')
        return '\n'.join(lines)

    def as_dict(self) -> dict:
        """Keys: benchmark, environment, settings, figures (with ``met``), details."""
        return dict(
            benchmark=self.benchmark,
            environment=environment(),
            settings=self.settings,
            figures=[dict(asdict(f), met=f.met) for f in self.figures],
            details=self.details,
        )

    def write(self, path: str) -> None:
        """:meth:`as_dict` as JSON."""
        Path(path).parent.mkdir(parents=True, exist_ok=True)
        Path(path).write_text(json.dumps(self.as_dict(), indent=1) + '\n')


def environment() -> dict[str, object]:
    """Machine and versions that a figure depends on."""
    found: dict[str, object] = dict(
        python=platform.python_version(),
        torch=torch.__version__,
        threads=torch.get_num_threads(),
        cpu_count=os.cpu_count(),
        machine=platform.machine(),
        mkldnn=torch.backends.mkldnn.is_available(),
        load_at_end=[round(x, 2) for x in os.getloadavg()],
    )
    if torch.cuda.is_available():
        found.update(
            gpu=torch.cuda.get_device_name(),
            cuda=torch.version.cuda,
            tf32=torch.backends.cuda.matmul.allow_tf32,
            cudnn=torch.backends.cudnn.version(),
        )
    return found


def _short(value: float) -> str:
    if not math.isfinite(value):
        return str(value)
    return f'{value:.3f}' if abs(value) < 10 else f'{value:.1f}'
