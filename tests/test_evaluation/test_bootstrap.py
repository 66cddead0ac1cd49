import numpy as np
import pytest

from orl_mm.evaluation.bootstrap import percentile_interval, resample_patients, weighted_means


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
