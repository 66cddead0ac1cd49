"""The head map of a checkpoint reaches the metrics that ask for it, and no stale one stays."""

from types import SimpleNamespace

import pytest
from torch import nn

from orl_mm.engine.hooks import StoredHeadsHook
from orl_mm.evaluation import AttentionAP, MultiLabelAUROC


def runner_of(*metrics, num_heads=3):
    """Of a test alone: its validation loop is a plain config that was never built."""
    model = nn.Identity()
    model.num_heads = num_heads
    loop = SimpleNamespace(evaluator=SimpleNamespace(metrics=list(metrics)))
    return SimpleNamespace(model=model, _test_loop=loop, _val_loop=dict(type='ValLoop'))


def test_heads_reach_the_metrics_and_go_with_the_next_checkpoint():
    attention, other = AttentionAP(), MultiLabelAUROC()
    runner, hook = runner_of(attention, other), StoredHeadsHook()
    hook.after_load_checkpoint(runner, dict(meta=dict(attention_heads={2: 'heart'})))
    assert attention.stored_heads == {2: 'heart'}
    assert not hasattr(other, 'stored_heads')
    hook.after_load_checkpoint(runner, dict(state_dict={}))  # bare weights guide no head
    assert attention.stored_heads is None


def test_a_head_that_the_model_lacks():
    attention = AttentionAP()
    with pytest.raises(ValueError, match='guided the heads {3.*has 3 heads, 0 to 2'):
        StoredHeadsHook().after_load_checkpoint(
            runner_of(attention), dict(meta=dict(attention_heads={3: 'heart'}))
        )
    assert attention.stored_heads is None
