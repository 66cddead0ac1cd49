"""What :mod:`.carry` needs of this machine: counts of full networks, seconds of full loading."""

from pathlib import Path
from typing import Any

import cv2
import torch
from _bench.batches import make_batch
from _bench.clock import interleave, median, use_clock
from _bench.steps import BYOLStep, R2OStep, build_model, build_optimizer

from .carry import Assumption, Recipe, kmeans_flops
from .carry_count import CONFIGS, count_config, kmeans_kernels
from .carry_data import SMALL, on_copies, resized_copies
from .cost_loading import Loader, keep_superpixels, superpixel_seconds, superpixel_step

# projects/medino/README.md, Registration and DINO underneath.
REGISTRATION_SECONDS, GUIDING_AT_FULL_SIZE = 0.28, 1.007
DIMS, CLUSTERS = 1024, 64  # C4 of a ResNet-50, the thesis's K
PIPELINES = dict(
    {key: path for key, (path, _) in CONFIGS.items()},
    dino_chest='configs/medino/vits16_chexpert_dino-cxr-aug.py',
)


def measure_inputs(folder: Path, templates: Path, photographs: str, turns: int = 3) -> dict:
    """Run each full step once, and load full-size batches of this machine's images.

    Args:
        folder (Path): For the superpixels of the images used.
        templates (Path): Has ``registered``, the templates of the X-rays.
        photographs (str): Folder of images for R2O's regions.
        turns (int): Batches that each pipeline loads.

    Returns:
        dict: ``counts`` of each config; ``load``, processor seconds an image of each pipeline,
        from JPEGs of the full data set's size; ``superpixels``, of SLIC on 30 images;
        ``r2o_over_byol``, of their full-size steps on this machine.
    """
    use_clock('process')
    torch.set_num_threads(1)
    cv2.setNumThreads(1)
    counts = {key: count_config(key, 8 if key == 'r2o' else 2, photographs) for key in CONFIGS}
    lists = {family: resized_copies(family, turns * 32, folder) for family in SMALL}
    loads: dict[str, Loader] = {}
    for key, path in PIPELINES.items():
        cfg = on_copies(path, lists['r2o' if key in ('byol', 'r2o') else 'medino'])
        prior = superpixel_step(cfg)
        if prior is not None:
            loads[f'{key}_anew'] = Loader(cfg, turns)
            paths = loads[f'{key}_anew'].paths()
            seconds = superpixel_seconds(paths[:: max(1, len(paths) // 30)][:30], prior)
            prior.cache = str(keep_superpixels(paths, prior, folder))
        if key == 'medino':  # made for the images that these are copies of
            cfg.train_dataloader.dataset.pipeline[2].update(
                source=str(templates / 'registered'),
                check='none',
                root=cfg.train_dataloader.dataset.data_root,
            )
        loads[key] = Loader(cfg, turns)
    spent = interleave(loads, turns, 1, progress='full-size batches')
    return dict(
        counts=counts,
        superpixels=seconds,
        r2o_over_byol=full_size_ratio(photographs),
        load={key: median(s) / loads[key].size for key, s in spent.items()},
    )


def full_size_ratio(
    photographs: str, images: int = 8, rounds: int = 3, depth: int = 50
) -> dict[str, float]:
    """R2O's step over BYOL's on one set of networks, ResNet-50, 224 pixels, bfloat16.

    A check on FLOPs, which leave out all that is not a convolution or a matrix product.

    Returns:
        dict: ``value``, of the medians; ``low`` and ``high``, of neighbouring measurements;
        ``images``, of a batch.
    """
    inputs, batch, _ = make_batch(images, 224, 100, photographs)
    model = build_model(depth, CLUSTERS)
    common = (model, build_optimizer(model), inputs, batch, torch.bfloat16)
    spent = interleave(
        dict(byol=BYOLStep(*common), r2o=R2OStep(*common)), rounds, 1, progress='full-size steps'
    )
    pairs = [a / b for a, b in zip(spent['r2o'], spent['byol'], strict=False)]
    return dict(
        value=median(spent['r2o']) / median(spent['byol']),
        low=min(pairs),
        high=max(pairs),
        images=images,
    )


def measured_assumptions(
    inputs: dict[str, Any], guiding: float, kmeans: dict[str, float]
) -> list[Assumption]:
    """What enters and was measured, in the form of what is assumed.

    Args:
        inputs (dict): Of :func:`measure_inputs`.
        guiding (float): Step of MeDINO triangular / that of DINO on the same crops, small.
        kmeans (dict): Of the small table: Lloyd iterations of a step.
    """
    names = dict(
        byol="BYOL's pipeline",
        r2o="R2O's, superpixels from the cache",
        r2o_anew="R2O's, SLIC anew",
        dino="DINO's, ten crops",
        dino_chest="the chest's, two crops",
        medino="MeDINO's, registered templates from the cache",
    )
    found = [
        Assumption(
            f'load_{key}',
            seconds,
            seconds,
            's',
            f'{names[key]}: an image on a core, from a JPEG of '
            + ('500 x 375' if key in ('byol', 'r2o', 'r2o_anew') else '390 x 320'),
            True,
        )
        for key, seconds in inputs['load'].items()
    ]
    ends = sorted((GUIDING_AT_FULL_SIZE, guiding))
    return [
        *found,
        Assumption(
            'superpixels',
            *(inputs['superpixels'],) * 2,
            's',
            'SLIC of one x0 of 224 pixels, 100 segments',
            True,
        ),
        Assumption(
            'registration',
            *(REGISTRATION_SECONDS,) * 2,
            's',
            'projects/medino/README.md, measured 2026-11-25',
        ),
        Assumption(
            'guiding',
            *ends,
            'x',
            'AttentionRegHook on / off: full size in fp32 '
            '(projects/medino/README.md), and the small table',
        ),
        Assumption(
            'kmeans_iterations',
            kmeans['iterations'],
            40.0,
            'iterations',
            'those of the small table on almost fresh weights, and more: a judgement; '
            'a GPU asks whether to stop every fourth',
        ),
    ]


def recipes(inputs: dict[str, Any]) -> list[Recipe]:
    """The runs to carry to.

    Args:
        inputs (dict): Of :func:`measure_inputs`.
    """
    counts = inputs['counts']

    def recipe(key: str, name: str, count: str, family: str, load: str, **more) -> Recipe:
        c = counts[count]
        return Recipe(
            key,
            name,
            family,
            c['epochs'],
            c['batch'],
            c['forward'] + c['backward'],
            c['gradient_bytes'],
            c['norm_calls'],
            load=f'load_{load}',
            **more,
        )

    r2o = counts['r2o']
    points = round(r2o['batch'] * r2o['superpixels'])
    none, one = (
        (kmeans_flops(points, DIMS, CLUSTERS, n), kmeans_kernels(CLUSTERS, n)) for n in (0, 1)
    )
    clustering = dict(
        kmeans_start=none, kmeans_each=tuple(b - a for a, b in zip(none, one, strict=False))
    )
    return [
        recipe('byol', 'BYOL', 'byol', 'r2o', 'byol'),
        recipe(
            'r2o',
            'R2O, superpixels once',
            'r2o',
            'r2o',
            'r2o',
            prepare=('superpixels',),
            **clustering,
        ),
        recipe('r2o-anew', 'R2O, superpixels each epoch', 'r2o', 'r2o', 'r2o_anew', **clustering),
        recipe('dino', 'DINO, generic augmentation, 10 crops', 'dino', 'medino', 'dino'),
        recipe(
            'dino-cxr-aug', 'DINO, chest augmentation, 2 crops', 'medino', 'medino', 'dino_chest'
        ),
        recipe(
            'medino',
            'MeDINO, deformable',
            'medino',
            'medino',
            'medino',
            factor='guiding',
            prepare=('registration',),
        ),
    ]


def notes(inputs: dict[str, Any], kmeans: dict[str, float]) -> list[str]:
    """What the table of a step rests on, in sentences."""
    byol, r2o = (inputs['counts'][key] for key in ('byol', 'r2o'))
    seen = inputs['r2o_over_byol']
    flops = (r2o['forward'] + r2o['backward']) / (byol['forward'] + byol['backward'])
    launches = kmeans_kernels(CLUSTERS, kmeans['iterations'])
    return [
        f'K-means runs on each GPU over its own {r2o["batch"]} images, about '
        f'{r2o["batch"] * r2o["superpixels"]:,.0f} superpixels of {DIMS} channels, without any '
        f'exchange between GPUs, as in the thesis: {launches:,} launches with '
        f'{kmeans["iterations"]:.0f} iterations, those of the small table.',
        f'By FLOPs R2O takes {flops:.2f} of BYOL. Measured on this machine with the same '
        f'full-size networks, batch {seen["images"]}, bfloat16: {seen["value"]:.2f} '
        f'({seen["low"]:.2f} to {seen["high"]:.2f}).',
    ]
