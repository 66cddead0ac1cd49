"""Is a network better than the template that guided it?"""

from typing import Any

import numpy as np

from orl_mm.evaluation.bootstrap import percentile_interval, resample_patients, weighted_means

from .thesis import DATASETS, PARTS


def above(mine: dict[str, Any], template: dict[str, Any]) -> dict[str, dict[str, float]]:
    """How much better a run is than its template, image by image.

    Returns:
        dict: Part -> ``difference`` of the means over the images of both, its 95% interval
        ``low`` and ``high``, resampled by patients.
    """
    found = {}
    for part, scores in mine['details'].items():
        images = [image for image in scores if image in template['details'].get(part, {})]
        if not images:
            continue
        gain = np.array([scores[i] - template['details'][part][i] for i in images])
        counts = resample_patients([mine['patients'].get(i, i) for i in images], 1000)
        low, high = percentile_interval(weighted_means(gain, counts))
        found[part] = dict(difference=float(gain.mean()), low=low, high=high)
    return found


def reports(table: dict[str, Any]) -> list[str]:
    """A line for each guided head that does not beat its own template.

    Its coverage hints at the reason: where it is low, the head has settled on a few patches
    of its part.
    """
    lines = []
    for row in table['rows']:
        for name, gains in row['above_template'].items():
            for part, gain in gains.items():
                if gain['difference'] > 0:
                    continue
                cover = row['here'][name].get(f'{part}_coverage')
                lines.append(
                    f'- † {row["name"]}, {DATASETS[name]}, {PARTS.get(part, part)}: '
                    f'{100 * gain["difference"]:+.1f} [{100 * gain["low"]:+.1f}, '
                    f'{100 * gain["high"]:+.1f}] against its template, coverage {cover:.2f}'
                )
    return lines
