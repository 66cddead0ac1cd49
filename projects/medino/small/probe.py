"""Tuberculosis from frozen features: logistic regression on Shenzhen, tested on Montgomery.

projects/medino/small/probe.py CHECKPOINT OUT.npz      # the features of both hospitals
"""

import sys
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

from orl_mm.evaluation.bootstrap import resample_patients, seed_summary
from orl_mm.evaluation.multi_label_auroc import resampled_auroc
from orl_mm.registry import MODELS

CONFIG = 'configs/transfer/montgomery/linear_tb_small.py'
FRACTIONS = {1.0: 1, 0.1: 10, 0.01: 20}  # share of the labels -> number of draws
STRENGTHS = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # C of the logistic regression
FOLDS = 5
RESAMPLES = 2000


class Hospital(NamedTuple):
    """Features (N, D) and labels (N,) of the images of a hospital, one for each patient."""

    features: np.ndarray
    labels: np.ndarray


def extract(checkpoint: str, out: Path) -> None:
    """Write the features that configs/transfer/montgomery/linear_tb_small.py would train on.

    Args:
        checkpoint (str): Of pretraining, or ``random:SEED`` for random weights.
        out (Path): ``.npz`` with ``train``, ``train_labels``, ``test``, ``test_labels``.
    """
    cfg = Config.fromfile(str(Path(__file__).resolve().parents[3] / CONFIG))
    init_default_scope('mmpretrain')
    kind, _, seed = checkpoint.partition(':')
    torch.manual_seed(int(seed) if kind == 'random' else 0)
    backbone = cfg.model.backbone
    backbone.init_cfg = (
        dict(type='orl_mm.ViTInit', std=0.02)
        if kind == 'random'
        else dict(backbone.init_cfg, checkpoint=checkpoint)
    )
    cfg.model.data_preprocessor = cfg.data_preprocessor
    model = MODELS.build(cfg.model)
    model.init_weights()
    model.eval()
    arrays: dict[str, Any] = {}
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
            with torch.no_grad():
                features.append(model.extract_feat(data['inputs']))
            labels += [float(sample.gt_score[0]) for sample in data['data_samples']]
        arrays.update({name: torch.cat(features).numpy(), f'{name}_labels': np.array(labels)})
    out.parent.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(out, **arrays)


def read(path: Path) -> dict[str, Hospital]:
    """The hospitals ``train`` and ``test`` of :func:`extract`."""
    with np.load(path, allow_pickle=False) as file:
        return {name: Hospital(file[name], file[f'{name}_labels']) for name in ('train', 'test')}


def scores(train: Hospital, test: Hospital, fraction: float, draws: int) -> np.ndarray:
    """Log odds of the test images, for each draw of the training labels.

    Features are standardized. The strength of the regression is chosen by cross-validation on
    the labels drawn; it is 0.01 where they are too few to split.

    Args:
        train (Hospital): N images.
        test (Hospital): M images.
        fraction (float): Share of the labels, stratified.
        draws (int): Number of subsets; draw d is the same for every network.

    Returns:
        np.ndarray: (draws, M).
    """
    return np.stack(
        [
            _fitted(train.features[chosen], train.labels[chosen]).decision_function(test.features)
            for chosen in subsets(train.labels, fraction, draws)
        ]
    )


def scores_within(hospital: Hospital) -> np.ndarray:
    """Rank (1, N) of each image within its fold, by a model of the other folds of its hospital.

    Ranks, because log odds of different models have different scales. This shows whether the
    features know the disease at all, apart from the transfer to another hospital.
    """
    found = np.empty(len(hospital.labels))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=1)
    for rest, held in folds.split(hospital.features, hospital.labels):
        model = _fitted(hospital.features[rest], hospital.labels[rest])
        found[held] = rankdata(model.decision_function(hospital.features[held])) / len(held)
    return found[None]


def _fitted(x: np.ndarray, y: np.ndarray) -> Any:
    """A logistic regression; see :func:`scores`."""
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


def auroc_summary(
    seeds: list[np.ndarray], labels: np.ndarray, reference: list[np.ndarray] | None = None
) -> dict[str, Any]:
    """AUROC in percent, mean over seeds and draws; 95% intervals over test patients and seeds.

    Args:
        seeds (list): (draws, M) for each seed; see :func:`scores`.
        labels (np.ndarray): (M,).
        reference (list, optional): Of the row to compare with.

    Returns:
        dict: See :func:`orl_mm.evaluation.bootstrap.seed_summary`.
    """
    counts = resample_patients(range(len(labels)), RESAMPLES)

    def both(group: list[np.ndarray]) -> tuple[list[float], np.ndarray]:
        points = [100 * np.mean([roc_auc_score(labels, one) for one in draws]) for draws in group]
        resampled = [
            np.mean([resampled_auroc(labels, one, counts) for one in draws], 0) for draws in group
        ]
        return points, 100 * np.stack(resampled)

    return seed_summary(*both(seeds), None if reference is None else both(reference))


if __name__ == '__main__':
    torch.set_num_threads(1)
    extract(sys.argv[1], Path(sys.argv[2]))
