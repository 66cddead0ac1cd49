"""Comparison of configs with tables of settings, and settings that several configs share."""

MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
GRAY = dict(
    type='RandomGrayscale', prob=0.2, keep_channels=True, channel_weights=(0.114, 0.587, 0.2989)
)


def jitter(brightness, contrast, saturation, hue):
    colors = dict(brightness=brightness, contrast=contrast, saturation=saturation, hue=hue)
    return dict(type='ColorJitter', **colors)


def sometimes(transform, prob):
    return dict(type='RandomApply', transforms=[transform], prob=prob)


def byol_views(blur=None, **changes):
    """BYOL's two views, in the order of arXiv 2006.07733, appendix B."""
    blur = blur or dict(type='orl_mm.GaussianBlur', kernel_size=23, sigma=(0.1, 2.0))
    views = [
        [
            sometimes(jitter(0.4, 0.4, 0.2, 0.1), 0.8),
            GRAY,
            dict(blur, prob=p),
            dict(type='Solarize', thr=128, prob=solarize),
        ]
        for p, solarize in ((1.0, 0.0), (0.1, 0.2))
    ]
    common = dict(
        type='orl_mm.MultiViewWithGeometry',
        num_views=[1, 1],
        transforms=views,
        size=224,
        scale=(0.08, 1.0),
        ratio=(3 / 4, 4 / 3),
        flip_prob=0.5,
        backend='fast',
    )
    return {**common, **changes}


def plain(value):
    """A config as dicts and lists, without the marks of the package that a part came from."""
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items() if key != '_scope_'}
    return [plain(item) for item in value] if isinstance(value, (list, tuple)) else value


def read(cfg, path):
    """A setting by its dotted path; elements of lists by index, or by type without the scope."""
    for part in path.split('.'):
        if isinstance(cfg, (list, tuple)) and not part.isdigit():
            (cfg,) = [item for item in cfg if item['type'].split('.')[-1] == part]
        else:
            cfg = cfg[int(part)] if isinstance(cfg, (list, tuple)) else cfg[part]
    return plain(cfg)


def settings_are(cfg, expected):
    """Each of these dotted paths of a config has the expected value."""
    assert {path: read(cfg, path) for path in expected} == plain(expected)


def hook_types(cfg):
    return {hook['type'].removeprefix('orl_mm.') for hook in cfg.custom_hooks}


def flatten(value, prefix=''):
    """Dotted paths to values; lists of dicts or lists by index."""
    if isinstance(value, dict):
        items = [(key, item) for key, item in value.items() if key != '_scope_']
    elif isinstance(value, (list, tuple)) and any(
        isinstance(v, (dict, list, tuple)) for v in value
    ):
        items = list(enumerate(value))
    else:
        return {prefix: value}
    return {
        key: leaf
        for name, item in items
        for key, leaf in flatten(item, f'{prefix}.{name}' if prefix else str(name)).items()
    }
