"""What frozen features know of tuberculosis: Shenzhen's labels, Montgomery's patients."""

import warnings
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from scipy.stats import rankdata
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GridSearchCV, StratifiedKFold, StratifiedShuffleSplit
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from orl_mm.evaluation.bootstrap import (
    mean_of_resampled_seeds,
    paired,
    percentile_interval,
    resample_patients,
)
from orl_mm.evaluation.multi_label_auroc import resampled_auroc
from orl_mm.registry import MODELS

from .base_plan import ROOT

CONFIG = 'configs/transfer/montgomery/linear_tb_small.py'
FRACTIONS = {1.0: 1, 0.1: 10, 0.01: 20}  # of the labels: how many draws
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of the logistic regression
FOLDS = 5
RESAMPLES = 2000


class Hospital(NamedTuple):
    """Features (N, D) and labels (N,) of the images of one hospital, a patient each."""

    features: np.ndarray
    labels: np.ndarray


def extract(checkpoint: str, out: Path) -> None:
    """Write the features that configs/transfer/montgomery/linear_tb_small.py would train on.

    Args:
        checkpoint (str): Of pretraining, or ``random:SEED`` for a network without any.
        out (Path): ``.npz`` with ``train``, ``train_labels``, ``test``, ``test_labels``.
    """
    cfg = Config.fromfile(str(ROOT / CONFIG))
    init_default_scope('mmpretrain')
    kind, _, seed = checkpoint.partition(':')
    torch.manual_seed(int(seed) if kind == 'random' else 0)
    init = cfg.model.backbone.init_cfg
    cfg.model.backbone.init_cfg = (
        dict(type='orl_mm.ViTInit', std=0.02)
        if kind == 'random'
        else dict(init, checkpoint=checkpoint)
    )
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.eval()
    arrays = {}
    for name, loader in (('train', cfg.train_dataloader), ('test', cfg.test_dataloader)):
        loader.update(
            num_workers=0,
            persistent_workers=False,
            pin_memory=False,
            sampler=dict(type='DefaultSampler', shuffle=False),
        )
        features, labels = [], []
        for batch in Runner.build_dataloader(loader):
            data = model.data_preprocessor(batch)
            features.append(model.extract_feat(data['inputs']))
            labels += [float(sample.gt_score[0]) for sample in data['data_samples']]
        arrays.update({name: torch.cat(features).numpy(), f'{name}_labels': np.array(labels)})
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)


def read(path: Path) -> dict[str, Hospital]:
    """What :func:`extract` has written: ``train`` and ``test``."""
    with np.load(path, allow_pickle=False) as file:
        return {name: Hospital(file[name], file[f'{name}_labels']) for name in ('train', 'test')}


def scores(train: Hospital, test: Hospital, fraction: float, draws: int) -> np.ndarray:
    """Log odds of the test images from a logistic regression, for each draw of the labels.

    Features are standardised. Its strength is chosen by cross-validation within the labels
    drawn, and 0.01 where they are too few to split.

    Args:
        train (Hospital): N images.
        test (Hospital): M images.
        fraction (float): Share of the labels; both kinds occur in their proportion, at least
            once.
        draws (int): How many subsets; draw d is the same for every network.

    Returns:
        np.ndarray: (draws, M).
    """
    found = []
    for chosen in subsets(train.labels, fraction, draws):
        found.append(
            _fitted(train.features[chosen], train.labels[chosen]).decision_function(test.features)
        )
    return np.stack(found)


def scores_within(hospital: Hospital) -> np.ndarray:
    """Rank (1, N) of each image within its fold, by a model of the other folds of its hospital.

    Ranks, since log odds of different models have different scales. Whether the features know the
    disease at all, apart from whether that carries to another hospital.
    """
    found = np.empty(len(hospital.labels))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=1)
    for rest, held in folds.split(hospital.features, hospital.labels):
        model = _fitted(hospital.features[rest], hospital.labels[rest])
        found[held] = rankdata(model.decision_function(hospital.features[held])) / len(held)
    return found[None]


def _fitted(x: np.ndarray, y: np.ndarray):
    """A logistic regression, see :func:`scores`."""
    model = make_pipeline(StandardScaler(), LogisticRegression(C=1e-2, max_iter=500))
    if np.bincount(y.astype(int)).min() >= FOLDS:
        model = GridSearchCV(
            model,
            {'logisticregression__C': STRENGTHS},
            scoring='roc_auc',
            cv=StratifiedKFold(FOLDS, shuffle=True, random_state=0),
        )
    with warnings.catch_warnings():
        warnings.simplefilter('ignore', ConvergenceWarning)
        return model.fit(x, y)


def subsets(labels: np.ndarray, fraction: float, draws: int) -> list[np.ndarray]:
    """Indices of the images whose labels are used, in each draw."""
    if fraction >= 1:
        return [np.arange(len(labels))] * draws
    size = max(2, round(fraction * len(labels)))
    split = StratifiedShuffleSplit(draws, train_size=size, random_state=0)
    return [np.sort(chosen) for chosen, _ in split.split(labels[:, None], labels)]


def summary(
    seeds: list[np.ndarray], labels: np.ndarray, reference: list[np.ndarray] | None = None
) -> dict[str, Any]:
    """AUROC in percent, mean over seeds and draws; a 95% interval over test patients and seeds.

    Args:
        seeds (list): (draws, M) for each seed, see :func:`scores`.
        labels (np.ndarray): (M,).
        reference (list, optional): Of the row to compare with.

    Returns:
        dict: ``auroc``, ``low``, ``high``, ``seeds``, and with a reference ``difference``,
        ``difference_low``, ``difference_high`` of the same resamples.
    """
    counts = resample_patients(range(len(labels)), RESAMPLES)

    def resampled(group: list[np.ndarray]) -> np.ndarray:
        return 100 * np.stack(
            [np.mean([resampled_auroc(labels, one, counts) for one in draws], 0) for draws in group]
        )

    def each(group: list[np.ndarray]) -> list[float]:
        return [
            100 * float(np.mean([roc_auc_score(labels, one) for one in draws])) for draws in group
        ]

    values = resampled(seeds)
    low, high = percentile_interval(mean_of_resampled_seeds(values))
    out = dict(auroc=float(np.mean(each(seeds))), low=low, high=high, seeds=each(seeds))
    if reference is not None:
        paired(seeds, reference)
        low, high = percentile_interval(mean_of_resampled_seeds(values - resampled(reference)))
        out.update(
            difference=out['auroc'] - float(np.mean(each(reference))),
            difference_low=low,
            difference_high=high,
        )
    return out
