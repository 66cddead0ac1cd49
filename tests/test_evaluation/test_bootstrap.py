import numpy as np
import pytest

from orl_mm.evaluation.bootstrap import (
    image_weights,
    mean_of_resampled_seeds,
    percentile_interval,
    resample_patients,
    seed_summary,
    weighted_means,
)


def test_patients_come_and_go_together():
    counts = resample_patients(['a', 'b', 'a', 'c', 'b', 'a'], 200, seed=3)
    assert counts.shape == (200, 6)
    assert (counts[:, 0] == counts[:, 2]).all()
    assert (counts[:, 0] == counts[:, 5]).all()
    assert (counts[:, 1] == counts[:, 4]).all()
    assert (counts[:, [0, 1, 3]].sum(1) == 3).all()  # three patients are drawn
    assert set(counts.ravel()) == {0, 1, 2, 3}


def test_draws_depend_on_the_seed_alone():
    patients = list('abcdefgh')
    first = resample_patients(patients, 50, seed=1)
    np.random.seed(0)
    assert (first == resample_patients(patients, 50, seed=1)).all()
    assert (first != resample_patients(patients, 50, seed=2)).any()
    assert resample_patients(patients, 0).shape == (0, 8)


def test_interval_of_a_mean_has_the_width_that_theory_gives():
    """The mean of n values has a standard error of sigma / sqrt(n)."""
    values = np.random.default_rng(0).normal(5, 2, 400)
    means = weighted_means(values, resample_patients(range(400), 4000))
    low, high = percentile_interval(means)
    error = values.std() / 20
    assert low == pytest.approx(values.mean() - 1.96 * error, abs=0.15 * error)
    assert high == pytest.approx(values.mean() + 1.96 * error, abs=0.15 * error)


def test_dependent_images_do_not_narrow_the_interval():
    """Ten copies of each patient's image say no more than one."""
    values = np.random.default_rng(0).normal(size=50)
    once = percentile_interval(weighted_means(values, resample_patients(range(50), 500)))
    copies = percentile_interval(
        weighted_means(np.repeat(values, 10), resample_patients(np.repeat(range(50), 10), 500))
    )
    np.testing.assert_allclose(copies, once, atol=1e-12)


def test_resamples_without_a_value_are_left_out():
    means = weighted_means(np.array([0.5]), np.array([[0], [1], [2]]))
    assert np.isnan(means[0])
    assert (means[1:] == 0.5).all()
    assert percentile_interval(means) == (0.5, 0.5)
    assert np.isnan(percentile_interval(np.array([np.nan]))).all()


@pytest.mark.parametrize(('patients', 'resamples'), [([], 10), (['a'], -1)])
def test_bad_requests(patients, resamples):
    with pytest.raises(ValueError, match='resamples'):
        resample_patients(patients, resamples)


def test_image_weights_add_up():
    weights = image_weights(20, 50)
    assert weights.min() > 0
    assert weights.sum(1) == pytest.approx(np.full(50, 20))


def test_resampled_seeds():
    """Two seeds, 0 and 1: half of all draws take both. A difference takes the same seeds."""
    zero, one = np.zeros(20000), np.ones(20000)
    found = mean_of_resampled_seeds([zero, one])
    values, times = np.unique(found, return_counts=True)
    assert values.tolist() == [0, 0.5, 1]
    assert times / 20000 == pytest.approx([0.25, 0.5, 0.25], abs=0.02)
    other = mean_of_resampled_seeds([zero + 3, one + 3])
    assert np.array_equal(other - found, np.full(20000, 3.0))
    single = np.arange(5.0)
    assert np.array_equal(mean_of_resampled_seeds([single]), single)


def test_summary_by_a_loop_over_resamples():
    """Draws of images and of seeds by hand, and the difference from a reference."""
    draw = np.random.default_rng(0)
    values, other = draw.normal(5, 1, (3, 40)), draw.normal(4, 1, (3, 40))
    counts = resample_patients(range(40), 500, seed=2)
    resampled = [np.stack([weighted_means(x, counts) for x in one]) for one in (values, other)]
    found = seed_summary(values.mean(1), resampled[0], reference=(other.mean(1), resampled[1]))
    seeds = np.random.default_rng(1).integers(3, size=(3, 500))
    means, gains = [], []
    for b in range(500):
        images = np.repeat(range(40), counts[b])
        means.append(np.mean([values[s, images].mean() for s in seeds[:, b]]))
        gains.append(np.mean([(values - other)[s, images].mean() for s in seeds[:, b]]))
    assert found['mean'] == pytest.approx(values.mean())
    assert found['seeds'] == pytest.approx(values.mean(1).tolist())
    assert [found['low'], found['high']] == pytest.approx(np.percentile(means, [2.5, 97.5]))
    assert found['difference'] == pytest.approx(values.mean() - other.mean())
    ends = [found['difference_low'], found['difference_high']]
    assert ends == pytest.approx(np.percentile(gains, [2.5, 97.5]))
    with pytest.raises(ValueError, match='3 seeds cannot be compared with 2: .* seed by seed'):
        seed_summary(values.mean(1), resampled[0], (other.mean(1)[:2], resampled[1][:2]))
