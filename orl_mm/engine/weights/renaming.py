"""A one-to-one correspondence of names, written once and read both ways."""

import re
from collections.abc import Iterable

# What a field of a pattern stands for.
_FIELDS = dict(stage='[1-4]', block=r'\d+', n=r'\d', leaf=r'\w+', rest='.+')


class Renaming:
    """Our names (OpenMMLab's) and those of another code.

    ``Renaming('...', ('bn1.{leaf}', 'stem.conv1.norm.{leaf}'))``: ``{block}`` and ``{n}`` are
    numbers, ``{leaf}`` is one word, ``{rest}`` anything. The first pair that fits counts.

    Args:
        title (str): Whose names they are, for messages.
        *pairs (tuple): Ours and theirs, with the same fields.
    """

    def __init__(self, title: str, *pairs: tuple[str, str]) -> None:
        self.title, self._pairs = title, pairs
        self._ours = [(_compile(ours), theirs) for ours, theirs in pairs]
        self._theirs = [(_compile(theirs), ours) for ours, theirs in pairs]

    def to_ours(self, name: str) -> str | None:
        """Our name for theirs; None where it is no part of the backbone."""
        return _rename(name, self._theirs)

    def to_theirs(self, name: str) -> str | None:
        """Their name for ours; None where they have no such part."""
        return _rename(name, self._ours)

    def ours(self, names: Iterable[str], prefix: str = '') -> dict[str, str]:
        """Their full names by our names, of those under a prefix that are of the backbone."""
        found = (
            (self.to_ours(name[len(prefix) :]), name) for name in names if name.startswith(prefix)
        )
        return {ours: name for ours, name in found if ours is not None}


def _compile(pattern: str) -> re.Pattern:
    parts = re.split(r'\{(\w+)\}', pattern)
    return re.compile(
        ''.join(
            f'(?P<{part}>{_FIELDS[part]})' if i % 2 else re.escape(part)
            for i, part in enumerate(parts)
        )
    )


def _rename(name: str, patterns: list) -> str | None:
    for pattern, other in patterns:
        match = pattern.fullmatch(name)
        if match:
            return other.format(**match.groupdict())
    return None
