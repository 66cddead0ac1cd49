"""Whose names a backbone's tensors bear: ours (OpenMMLab's) beside everybody else's."""

from .renaming import Renaming

# OpenMMLab took torchvision's names; timm has them, too.
RESNET = Renaming(
    "torchvision's names",
    *((name, name) for name in ('conv1.{rest}', 'bn1.{rest}', 'layer{stage}.{rest}')),
)

# `nn.Sequential(*list(torchvision's resnet50.children()))`: BYOL-PyTorch, R2O, DetCon-PyTorch
# (model/basic_modules.py, EncoderwithProjection). 2 and 3 are ReLU and pooling.
SEQUENTIAL = Renaming(
    "torchvision's children numbered",
    ('conv1.{rest}', '0.{rest}'),
    ('bn1.{rest}', '1.{rest}'),
    *((f'layer{stage}.{{rest}}', f'{stage + 3}.{{rest}}') for stage in (1, 2, 3, 4)),
)

# The same in DetCon-PyTorch's variant with a feature pyramid (pool_size other than 7).
PYRAMID = Renaming(
    "torchvision's stages as C1 to C5",
    ('conv1.{rest}', 'C1.0.{rest}'),
    ('bn1.{rest}', 'C1.1.{rest}'),
    *((f'layer{stage}.{{rest}}', f'C{stage + 1}.{{rest}}') for stage in (1, 2, 3, 4)),
)

# detectron2's tools/convert-torchvision-to-d2.py. The last line keeps what a plain ResNet has
# not (deformable offsets) in sight.
DETECTRON2 = Renaming(
    "detectron2's names",
    ('conv1.weight', 'stem.conv1.weight'),
    ('bn1.{leaf}', 'stem.conv1.norm.{leaf}'),
    *(
        pair
        for stage in (1, 2, 3, 4)
        for pair in (
            (
                f'layer{stage}.{{block}}.bn{{n}}.{{leaf}}',
                f'res{stage + 1}.{{block}}.conv{{n}}.norm.{{leaf}}',
            ),
            (
                f'layer{stage}.{{block}}.downsample.0.{{leaf}}',
                f'res{stage + 1}.{{block}}.shortcut.{{leaf}}',
            ),
            (
                f'layer{stage}.{{block}}.downsample.1.{{leaf}}',
                f'res{stage + 1}.{{block}}.shortcut.norm.{{leaf}}',
            ),
            (f'layer{stage}.{{rest}}', f'res{stage + 1}.{{rest}}'),
        )
    ),
)


def _haiku_norm(ours: str, theirs: str) -> tuple:
    return (
        (f'{ours}.weight', f'{theirs}/scale'),
        (f'{ours}.bias', f'{theirs}/offset'),
        (f'{ours}.running_mean', f'{theirs}/~/mean_ema/average'),
        (f'{ours}.running_var', f'{theirs}/~/var_ema/average'),
    )


# Modules of Haiku's nets/resnet.py (BlockV1), made in `__init__`, hence the `~`.
HAIKU = Renaming(
    "Haiku's names",
    ('conv1.weight', 'initial_conv/w'),
    *_haiku_norm('bn1', 'initial_batchnorm'),
    *(
        pair
        for stage in (1, 2, 3, 4)
        for pair in (
            *(
                (
                    f'layer{stage}.{{block}}.conv{n + 1}.weight',
                    f'block_group_{stage - 1}/~/block_{{block}}/~/conv_{n}/w',
                )
                for n in (0, 1, 2)
            ),
            *(
                norm
                for n in (0, 1, 2)
                for norm in _haiku_norm(
                    f'layer{stage}.{{block}}.bn{n + 1}',
                    f'block_group_{stage - 1}/~/block_{{block}}/~/batchnorm_{n}',
                )
            ),
            (
                f'layer{stage}.{{block}}.downsample.0.weight',
                f'block_group_{stage - 1}/~/block_{{block}}/~/shortcut_conv/w',
            ),
            *_haiku_norm(
                f'layer{stage}.{{block}}.downsample.1',
                f'block_group_{stage - 1}/~/block_{{block}}/~/shortcut_batchnorm',
            ),
        )
    ),
)

# mmpretrain's VisionTransformer.
VIT = Renaming(
    "mmpretrain's ViT names",
    *(
        (name, name)
        for name in ('cls_token', 'pos_embed', 'patch_embed.{rest}', 'layers.{rest}', 'ln1.{rest}')
    ),
)

# vision_transformer.py of facebookresearch/dino, after timm's.
DINO_VIT = Renaming(
    "timm's ViT names",
    ('cls_token', 'cls_token'),
    ('pos_embed', 'pos_embed'),
    ('patch_embed.projection.{leaf}', 'patch_embed.proj.{leaf}'),
    ('layers.{block}.ln{n}.{leaf}', 'blocks.{block}.norm{n}.{leaf}'),
    ('layers.{block}.ffn.layers.0.0.{leaf}', 'blocks.{block}.mlp.fc1.{leaf}'),
    ('layers.{block}.ffn.layers.1.{leaf}', 'blocks.{block}.mlp.fc2.{leaf}'),
    ('layers.{rest}', 'blocks.{rest}'),
    ('ln1.{leaf}', 'norm.{leaf}'),
)

LAYOUTS = (RESNET, SEQUENTIAL, PYRAMID, DETECTRON2, HAIKU, VIT, DINO_VIT)
# By the first of each a layout is found in a file: the first convolution of either kind of
# network. The second tells it from chance, such as `0.weight` in any Sequential.
ANCHORS = (
    ('conv1.weight', 'layer4.0.conv1.weight'),
    ('patch_embed.projection.weight', 'layers.0.attn.qkv.weight'),
)
