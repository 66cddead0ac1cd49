"""Which names of a file are a backbone's: prefixes, the network to prefer, and what must fit."""

from collections.abc import Iterable, Sequence

from torch import Tensor

# Where several networks of a file fit equally well: the online one, then bare names.
ONLINE = ('backbone.', '', 'module.backbone.')
# What is evaluated: of DINO, the teacher.
EVALUATED = ('teacher.backbone.', *ONLINE)


def find_prefixes(weights: Iterable[str], names: set[str]) -> dict[str, int]:
    """How many of the names the file has, under each prefix it has any of them."""
    counts: dict[str, int] = {}
    for key in weights:
        parts = key.split('.')
        for i in range(len(parts)):
            if '.'.join(parts[i:]) in names:
                prefix = ''.join(f'{part}.' for part in parts[:i])
                counts[prefix] = counts.get(prefix, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def choose_prefix(found: dict[str, int], total: int, preferred: Sequence[str], source: str) -> str:
    """The prefix under which most names fit; among equals, the first one preferred.

    Args:
        found (dict): See :func:`find_prefixes`.
        total (int): How many names there are to find.
        preferred (sequence): Prefixes.
        source (str): What to call the file.

    Raises:
        ValueError: Several prefixes fit, and none of them is preferred.
    """
    most = max(found.values(), default=0)
    if 2 * most < total:  # chance matches of names such as conv1.weight
        return ''
    best = [prefix for prefix, count in found.items() if count == most]
    for prefix in preferred:
        if prefix in best:
            return prefix
    if len(best) > 1:
        raise ValueError(
            f'{source} holds several networks that fit, {best}: choose one with prefix='
        )
    return best[0]


def check_weights(
    name: str,
    own: dict[str, Tensor],
    weights: dict[str, Tensor],
    prefix: str,
    source: str,
    min_match: float = 0.99,
    resized: Sequence[str] = (),
    fix: str = 'Give the right prefix=',
) -> list[str]:
    """The names that a file lacks, if it holds almost all and fits.

    Args:
        name (str): What to call the backbone.
        own (dict): Its tensors, without counters of batches.
        weights (dict): The file's.
        prefix (str): What stands before the backbone's names in the file.
        source (str): What to call the file.
        min_match (float): Share of ``own`` that the file must hold.
        resized (sequence): Names whose shape may differ, since loading resizes them.
        fix (str): What to do about a wrong prefix.

    Raises:
        ValueError: Too few names, another shape, or a deeper network in the file.
    """
    missing = [key for key in own if prefix + key not in weights]
    matched = len(own) - len(missing)
    if not own or matched < min_match * len(own):
        found = find_prefixes(weights, set(own))
        offers = ', '.join(f'{p!r} ({n} names)' for p, n in found.items() if 2 * n > len(own))
        offers = offers or 'none that fits; its names begin with ' + _few(
            sorted({'.'.join(key.split('.')[:2]) for key in weights})
        )
        raise ValueError(
            f'{source} holds {matched} of the {len(own)} tensors of {name} under prefix '
            f'{prefix!r}, fewer than {min_match:.0%}. Missing: {_few(missing)}. Prefixes in the '
            f'file: {offers}. {fix}, or the backbone config the file was trained with; weights '
            'of other code must be renamed first (tools/convert_weights.py)'
        )
    shapes = [
        f'{key} is {tuple(weights[prefix + key].shape)} in the file and {tuple(value.shape)} here'
        for key, value in own.items()
        if key not in resized
        and prefix + key in weights
        and weights[prefix + key].shape != value.shape
    ]
    # A deeper network has blocks that are only in the file; its head is no concern here.
    children = {key.split('.')[0] for key in own}
    shapes += [
        f'{key} is only in the file'
        for key in (key[len(prefix) :] for key in weights if key.startswith(prefix))
        if key not in own
        and key.split('.')[0] in children
        and not key.endswith('num_batches_tracked')
    ]
    if shapes:
        raise ValueError(
            f'{source} is of another architecture than this {name}: {_few(shapes)}. '
            'Use the backbone config it was trained with'
        )
    return missing


def _few(items: list[str], most: int = 5) -> str:
    rest = len(items) - most
    return ', '.join(items[:most]) + (f' and {rest} more' if rest > 0 else '')
