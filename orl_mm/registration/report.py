"""Report of a set of registrations: counts, Dice, reasons of the fallbacks."""

import json
import os
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field

import numpy as np

from orl_mm.io.part_layouts import exchange_sides, find_samples, read_part
from orl_mm.map_cache.entry import CacheError
from orl_mm.structures.view_geometry import ViewGeometry

from .cache import TemplateCache
from .quality import STATUSES, Outcome, dice


@dataclass
class Record:
    """One image: its path below the root, the outcome, and Dice where true masks exist."""

    image: str
    outcome: Outcome
    dice: dict[str, float] = field(default_factory=dict)

    @property
    def score(self) -> float:
        """For sorting: mean Dice, else the least similarity of the parts; -1 without any."""
        if self.dice:
            return float(np.mean(list(self.dice.values())))
        return min(self.outcome.quality.similarity) if self.outcome.quality else -1.0


def read_truth(root: str) -> dict[str, dict[str, list[str]]]:
    """Mask files of each image's parts, by the image's stem; layouts of ``ChestXRayParts``."""
    samples = find_samples(root)
    exchange_sides(samples, root)
    return {sample.id: sample.part_paths for sample in samples}


def collect(
    cache: TemplateCache,
    img_paths: Iterable[str],
    truth: dict[str, dict[str, list[str]]] | None = None,
) -> list[Record]:
    """Read the outcomes of images from the cache; images without an entry are left out.

    Dice is computed at the size of the true masks, on the template enlarged by nearest
    neighbor, for the parts that both have.
    """
    records = []
    for path in img_paths:
        try:
            outcome = cache.outcome(path)
        except CacheError:  # unreadable images have none, and are listed by the build
            continue
        assert outcome.masks is not None  # the cache reads them with the outcome
        masks = dict(zip(cache.parts, outcome.masks, strict=True))
        stem = os.path.splitext(os.path.basename(path))[0]
        scores = {}
        for part, files in (truth or {}).get(stem, {}).items():
            if part in masks and files:
                true = read_part(files)
                whole = ViewGeometry.whole(*masks[part].shape)
                scores[part] = dice(whole.apply_labels(masks[part], true.shape), true)
        outcome = Outcome(outcome.status, outcome.reason, outcome.quality)  # masks are large
        records.append(Record(cache.relative(path), outcome, scores))
    return records


def summarize(records: Sequence[Record], parts: Sequence[str]) -> dict:
    """Counts by status, and statistics of similarity and Dice over the images, as JSON values."""
    count = Counter(record.outcome.status for record in records)
    found: dict = dict(images=len(records), **{s: count[s] for s in STATUSES})
    assessed = [r.outcome.quality for r in records if r.outcome.quality]
    if assessed:
        least = np.array([min(q.similarity) for q in assessed])
        percentiles = {f'{p}%': float(np.percentile(least, p)) for p in (1, 10, 50)}
        found['similarity'] = dict(mean=float(least.mean()), **percentiles)
        found['folded'] = sum(q.folded > 0 for q in assessed)
    for part in parts:
        values = [r.dice[part] for r in records if part in r.dice]
        if values:
            found.setdefault('dice', {})[part] = dict(
                mean=float(np.mean(values)),
                median=float(np.median(values)),
                least=float(min(values)),
                images=len(values),
            )
    return found


def choose(records: Sequence[Record], count: int = 4) -> list[tuple[str, Record]]:
    """Best, middle and worst of the registered images, then fallbacks, with their titles."""
    good = sorted((r for r in records if r.outcome.status == 'deformable'), key=lambda r: -r.score)
    places = {'best': 0, 'median': len(good) // 2, 'worst': len(good) - 1}
    chosen = [(name, good[place]) for name, place in places.items()] if good else []
    for status in STATUSES[1:]:
        found = sorted((r for r in records if r.outcome.status == status), key=lambda r: r.score)
        chosen += [(f'{status} instead', record) for record in found[:count]]
    return chosen


def write_report(
    folder: str, cache: TemplateCache, records: Sequence[Record], unreadable: int = 0
) -> list[str]:
    """Write ``report.json``, ``report.md`` and ``fallbacks.txt``; their paths."""
    summary = dict(summarize(records, cache.parts), unreadable=unreadable)
    rows = ',\n  '.join(json.dumps(_row(record)) for record in records)  # one line an image
    head = json.dumps(dict(summary=summary, spec=cache.provenance['spec']), indent=1)[:-2]
    back = [r for r in records if r.outcome.status != STATUSES[0]]
    texts = {
        'report.json': f'{head},\n "images": [\n  {rows}\n ]\n}}\n',
        'report.md': _markdown(summary, back, cache),
        'fallbacks.txt': ''.join(
            f'{r.image}\t{r.outcome.status}\t{r.outcome.reason}\n' for r in back
        ),
    }
    for name, text in texts.items():
        with open(os.path.join(folder, name), 'w', encoding='utf-8') as file:
            file.write(text)
    return [os.path.join(folder, name) for name in texts]


def _row(record: Record) -> dict:
    outcome = asdict(record.outcome)
    del outcome['masks']
    return dict(image=record.image, **outcome, dice=record.dice)


def _markdown(summary: dict, back: Sequence[Record], cache: TemplateCache) -> str:
    counts = [summary[name] for name in ('images', *STATUSES, 'unreadable')]
    lines = ['# Registered templates', '', *_table(['images', *STATUSES, 'unreadable'], [counts])]
    if 'similarity' in summary:
        s = summary['similarity']
        lines += [
            'Correlation of image and warped exemplar around the worst part: '
            f'mean {s["mean"]:.3f}, median {s["50%"]:.3f}, lowest tenth below '
            f'{s["10%"]:.3f}. Folded fields: {summary["folded"]}.',
            '',
        ]
    if 'dice' in summary:
        rows = [
            [part, *(f'{d[k]:.3f}' for k in ('mean', 'median', 'least')), d['images']]
            for part, d in summary['dice'].items()
        ]
        lines += _table(['part', 'mean Dice', 'median', 'least', 'images'], rows)
    reasons = Counter(f'{r.outcome.status}: {_kind(r.outcome.reason)}' for r in back)
    if reasons:
        lines += _table(['fallback: why', 'images'], reasons.most_common(20))
        lines += ['All are listed in `fallbacks.txt`.', '']
    spec = cache.provenance['spec']
    settings = ', '.join(f'{k} {v}' for k, v in spec['settings'].items())
    return '\n'.join([*lines, f'Settings: {settings}', '', f'Library: {spec["library"]}']) + '\n'


def _table(head: Sequence, rows: Iterable[Sequence]) -> list[str]:
    lines = [head, ['---'] * len(head), *rows]
    return [*('| ' + ' | '.join(map(str, line)) + ' |' for line in lines), '']


def _kind(reason: str) -> str:
    """A reason without its numbers, so that equal ones can be counted."""
    return ' '.join(w for w in reason.split() if not any(c.isdigit() for c in w))
