"""k-NN on frozen features: scikit-learn's votes, any chunk, any number of processes."""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from sklearn.neighbors import KNeighborsClassifier

from orl_mm.engine.hooks import FeatureBankHook
from orl_mm.models.utils.knn import nearest_neighbors, weighted_vote
from tests.test_models.knn_model import CLASSES, QUERIES, TRAIN, Noise, fill, probe


def by_scikit(bank, labels, queries, k, temperature):
    """(Q, C) votes; scikit-learn's cosine distance is 1 - cosine."""
    classifier = KNeighborsClassifier(
        k, metric='cosine', algorithm='brute', weights=lambda d: np.exp((1 - d) / temperature)
    )
    return classifier.fit(bank, labels).predict_proba(queries)


@pytest.mark.parametrize(('k', 'temperature'), [(1, 0.07), (20, 0.07), (20, 1.0), (64, 0.5)])
@pytest.mark.parametrize('chunk', [7, 50, 1000])
def test_votes_are_those_of_scikit_learn(k, temperature, chunk):
    """In chunks smaller than k, and one that holds the whole bank."""
    draw = np.random.default_rng(0)
    labels = np.arange(200) % 5
    centers = draw.normal(size=(5, 12))
    bank, queries = (centers[x] + draw.normal(size=(len(x), 12)) for x in (labels, labels[:30]))
    bank *= draw.uniform(0.1, 10, (200, 1))  # lengths do not count
    unit = [F.normalize(torch.from_numpy(x), dim=1) for x in (queries, bank)]
    near = nearest_neighbors(*unit, torch.from_numpy(labels), k, chunk)
    votes = weighted_vote(*near, 5, temperature)
    expected = by_scikit(bank, labels, queries, k, temperature)
    np.testing.assert_allclose(votes, expected, atol=2e-6)
    assert 0 < (expected.argmax(1) == labels[:30]).mean() < 1
    assert (near[0].diff(dim=1) <= 0).all()


def test_votes_by_hand():
    """Two of class 1 at cosine 0.5 against one of class 0 at 0.6: e^.6 against 2 e^.5."""
    votes = weighted_vote(
        torch.tensor([[0.6, 0.5, 0.5, -math.inf]]), torch.tensor([[0, 1, 1, 2]]), 3, 1.0
    )
    one, two = math.exp(0.6), 2 * math.exp(0.5)
    torch.testing.assert_close(votes, torch.tensor([[one, two, 0.0]]) / (one + two))


def test_a_bank_smaller_than_k():
    bank = F.normalize(torch.randn(3, 4), dim=1)
    cosines, _ = nearest_neighbors(bank[:1], bank, torch.arange(3), 5)
    assert cosines[0].isfinite().tolist() == [True] * 3 + [False] * 2


@pytest.mark.parametrize('device', [None, 'cpu'])
def test_bank_of_the_hook_and_votes_of_the_model(device):
    """Features are averaged maps, normalized images, each once, the network in evaluation mode."""
    model = probe().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    fill(model, device=device)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())
    assert set(before) == {f'backbone.{key}' for key in model.backbone.state_dict()}
    train, queries = Noise(TRAIN, 0), Noise(QUERIES, 1)
    with torch.no_grad():
        feats = [
            model.backbone((data.images - 127.0) / 60)[-1].mean((2, 3)).numpy()
            for data in (train, queries)
        ]
    torch.testing.assert_close(model.bank, F.normalize(torch.from_numpy(feats[0]), dim=1))
    assert model.labels.tolist() == train.labels.tolist()
    samples = model((queries.images - 127.0) / 60, mode='predict')
    expected = by_scikit(feats[0], train.labels.numpy(), feats[1], 5, 0.07)
    np.testing.assert_allclose(torch.stack([s.pred_score for s in samples]), expected, atol=1e-5)
    assert [int(s.pred_label) for s in samples] == expected.argmax(1).tolist()
    assert len(set(expected.argmax(1))) > 1


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(k=0), 'k must be positive, got 0'),
        (dict(temperature=-1.0), 'temperature must be positive'),
    ],
)
def test_arguments_out_of_range(options, said):
    with pytest.raises(ValueError, match=said):
        probe(**options)


def test_tests_that_cannot_be():
    model = probe()
    images = torch.zeros(1, 3, 32, 32)
    with pytest.raises(ValueError, match='FeatureBankHook'):
        model(images, mode='predict')
    with pytest.raises(ValueError, match='only tested'):
        model(images, mode='loss')
    with pytest.raises(ValueError, match='k=5 neighbors of 4 training images'):
        model.set_bank(torch.ones(4, 64), torch.zeros(4, dtype=torch.int64), 4)
    with pytest.raises(ValueError, match=f'set model.num_classes={CLASSES}'):
        probe(num_classes=2).set_bank(torch.ones(7, 64), torch.arange(7) % CLASSES, 7)
    with pytest.raises(ValueError, match='needs a dataset with labels'):
        FeatureBankHook(dict(batch_size=2))


def test_a_diverged_network_is_named():
    model = probe()
    model.backbone.conv1.weight.data.fill_(math.nan)
    with pytest.raises(ValueError, match='not finite'):
        fill(model)


def test_images_without_labels(monkeypatch):
    monkeypatch.setattr(
        Noise,
        '__getitem__',
        lambda self, i: dict(inputs=self.images[i], data_samples=type(SAMPLE)()),
    )
    with pytest.raises(ValueError, match='gt_label'):
        fill(probe())


SAMPLE = Noise(1, 0)[0]['data_samples']
