"""A probe takes the checkpoints of pretraining as they are."""

from functools import partial
from typing import Any

from mmengine.logging import print_log
from torch import nn

from orl_mm.models.utils.weight_names import EVALUATED, check_weights, choose_prefix, find_prefixes

NETWORKS = dict(teacher='teacher.backbone.', student='backbone.')


def take_pretraining_weights(model: nn.Module, network: str = 'auto', own: str = '') -> None:
    """Let ``load_state_dict`` of a model fill its ``backbone`` from any pretraining's weights.

    A hook renames the weights of one network and drops the others: of DINO's checkpoints
    the teacher's, of any other the ``backbone.`` (what mmselfsup and mmpretrain train), or
    bare names. Position embeddings of other image sizes are resized by the backbone.

    Args:
        model (nn.Module): Has a ``backbone``.
        network (str): ``'auto'``: as above. ``'teacher'``, ``'student'``, or any prefix,
            such as ``'momentum_encoder.module.0.'``.
        own (str): A name that only the model's own checkpoints have; these load as usual.

    Raises:
        ValueError: On loading, weights of another network: fewer than 99% of the backbone's
            names, other shapes, or further blocks.
    """
    model._register_load_state_dict_pre_hook(
        partial(_rename, network=network, own=own), with_module=True
    )


def _rename(
    model: nn.Module, state_dict: dict, prefix: str, *args: Any, network: str, own: str
) -> None:
    if prefix or own and own in state_dict:
        return
    mine = {
        name: value
        for name, value in model.backbone.state_dict().items()
        if not name.endswith('num_batches_tracked')
    }
    if network == 'auto':
        found = find_prefixes(state_dict, set(mine))
        source = choose_prefix(found, len(mine), EVALUATED, 'the checkpoint')
    else:
        source = NETWORKS.get(network, network if network.endswith('.') else f'{network}.')
    check_weights(
        type(model.backbone).__name__,
        mine,
        state_dict,
        source,
        'the checkpoint',
        resized=('pos_embed',),
        fix="Give another model.network ('teacher', 'student' or a prefix)",
    )
    chosen = {
        f'backbone.{name}': state_dict[source + name]
        for name in model.backbone.state_dict()
        if source + name in state_dict
    }
    print_log(f'{type(model).__name__} takes the weights named {source + "*"!r}', logger='current')
    state_dict.clear()
    state_dict.update(chosen)
