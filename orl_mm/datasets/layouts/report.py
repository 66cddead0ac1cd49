"""What a look at a data set's folder found."""

from collections.abc import Sequence
from dataclasses import dataclass, field


@dataclass
class LayoutReport:
    """Problems, notes and counts of one data set, as every ``check_*`` returns them.

    Attributes:
        name (str): Of the layout, ``'coco'``.
        root (str): The folder that was looked at.
        problems (list[str]): What would break or distort a run; each names the file or
            folder and the fix, in one line.
        notes (list[str]): What is legal and worth knowing, such as that it is a sample.
        counts (dict[str, int]): What there is, by name, ``{'train images': 118287}``.
    """

    name: str
    root: str
    problems: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    counts: dict[str, int] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether a run may start."""
        return not self.problems

    def lines(self) -> list[str]:
        """The report as text, the problems last, where a reader looks first."""
        counted = ', '.join(f'{value:,} {name}' for name, value in self.counts.items())
        return [
            f'{self.name} in {self.root}: {counted or "nothing"}',
            *(f'note: {note}' for note in self.notes),
            *(f'PROBLEM: {problem}' for problem in self.problems),
        ]


def some(names: Sequence[str], most: int = 3) -> str:
    """The first few of many names: ``'a, b, c and 7 more'``."""
    shown, left = ', '.join(map(str, names[:most])), len(names) - most
    return f'{shown} and {left:,} more' if left > 0 else shown
