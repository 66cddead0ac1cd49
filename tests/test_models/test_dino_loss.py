"""DINO's loss against recorded steps of the reference and against its own words."""

from pathlib import Path

import numpy as np
import pytest
import torch

from orl_mm.models.losses.dino_loss import DINOLoss


@pytest.fixture(scope='module')
def golden():
    arrays = np.load(Path(__file__).parents[1] / 'data' / 'dino.npz', allow_pickle=False)
    return {name: torch.from_numpy(np.array(arrays[name])) for name in arrays}


def test_five_steps_of_the_reference(golden):
    """Loss, gradient and center, with temperature and center that evolve."""
    loss = DINOLoss(
        64,
        student_temp=golden['student_temp'].item(),
        center_momentum=golden['center_momentum'].item(),
    )
    for step in range(5):
        g = {
            name.split('.')[1]: value
            for name, value in golden.items()
            if name.startswith(f'step{step}.')
        }
        student = g['student'].clone().requires_grad_()
        found = loss(student, g['teacher'], golden['ncrops'].item(), 2, g['teacher_temp'].item())
        found.backward()
        torch.testing.assert_close(found.detach(), g['loss'], atol=0, rtol=1e-6)
        torch.testing.assert_close(student.grad, g['grad_student'], atol=1e-6, rtol=0)
        torch.testing.assert_close(loss.center, g['center_after'], atol=1e-6, rtol=0)


@pytest.mark.parametrize(('crops', 'num_global'), [(2, 2), (2, 1), (3, 3), (5, 2), (4, 1)])
def test_every_pair_by_name(crops, num_global):
    """Sum over X in the global crops and X' in all others, written with loops, in float64."""
    torch.manual_seed(0)
    student, teacher = torch.randn(crops, 3, 7), torch.randn(num_global, 3, 7)
    loss = DINOLoss(7, student_temp=0.2)
    loss.center.normal_()
    center, pairs = loss.center.double(), []
    for x in range(num_global):
        for y in range(crops):
            if x != y:
                p = torch.softmax((teacher[x].double() - center) / 0.05, -1)
                q = torch.softmax(student[y].double() / 0.2, -1)
                pairs.append(-(p * q.log()).sum(-1).mean())
    assert len(pairs) == num_global * (crops - 1)
    found = loss(student.flatten(0, 1), teacher.flatten(0, 1), crops, num_global, 0.05)
    assert found.item() == pytest.approx(torch.stack(pairs).mean().item(), rel=1e-5)


def test_center_moves_in_training_alone():
    loss, teacher = (
        DINOLoss(3, center_momentum=0.75),
        torch.tensor([[1.0, 2.0, 3.0], [3.0, 2.0, -3.0]]),
    )
    loss.eval()
    loss(teacher, teacher, 2, 2, 0.04)
    assert loss.center.abs().max() == 0
    loss.train()
    loss(teacher, teacher, 2, 2, 0.04)
    assert loss.center.tolist() == [[0.5, 0.5, 0.0]]
    assert loss.state_dict()['center'].shape == (1, 3)


def test_teacher_gets_no_gradient_and_half_precision_gives_single():
    teacher = torch.randn(4, 8, requires_grad=True)
    student = torch.randn(4, 8).bfloat16().requires_grad_()
    found = DINOLoss(8)(student, teacher, 2, 2, 0.04)
    found.backward()
    assert found.dtype == torch.float32
    assert teacher.grad is None
    assert student.grad.abs().max() > 0


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((4, 4, 1, 1), 'two crops'),
        ((4, 4, 2, 0), 'two crops'),
        ((4, 6, 2, 3), 'two crops'),
        ((5, 5, 2, 2), 'do not fit'),
        ((6, 6, 3, 2), 'do not fit'),
    ],
)
def test_crops_that_do_not_fit(arguments, message):
    student, teacher, crops, num_global = arguments
    with pytest.raises(ValueError, match=message):
        DINOLoss(8)(torch.zeros(student, 8), torch.zeros(teacher, 8), crops, num_global, 0.04)


def test_bad_arguments():
    with pytest.raises(ValueError, match='out_channels'):
        DINOLoss(9)(torch.zeros(4, 8), torch.zeros(4, 8), 2, 2, 0.04)
    with pytest.raises(ValueError, match='student_temp'):
        DINOLoss(student_temp=0)
    with pytest.raises(ValueError, match='center_momentum'):
        DINOLoss(center_momentum=1.5)
