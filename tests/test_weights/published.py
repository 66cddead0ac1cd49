"""Files with exactly the names and shapes that each code publishes, around one ResNet-50.

The names are written out here from the publishers' sources, or come from torchvision, whose
modules most of them wrap; nothing is taken from orl_mm. Each function gives what the file holds;
the network that is not asked for, and heads, are constants of their shape.
"""

import argparse
import pickle
from collections import OrderedDict
from types import SimpleNamespace

import numpy as np
import torch
import torchvision
from skimage import data
from torch import nn
from torch.nn import functional as F

BLOCKS = (3, 4, 6, 3)


def resnet50(seed=0):
    """torchvision's, with norms that do something."""
    torch.manual_seed(seed)
    return randomise(torchvision.models.resnet50(num_classes=1000))


def light_resnet50():
    """The same names and shapes; each tensor is a constant of its own that takes no room."""
    with torch.device('meta'):
        model = torchvision.models.resnet50()
    model.load_state_dict(
        {
            name: flat(w.shape, float(i)) if w.is_floating_point() else torch.tensor(i)
            for i, (name, w) in enumerate(model.state_dict().items())
        },
        assign=True,
    )
    return model


def narrow_resnet50():
    """A sixteenth as wide, as a state dict alone: for files that store every number."""
    with torch.device('meta'):
        shapes = {name: w.shape for name, w in torchvision.models.resnet50().state_dict().items()}
    torch.manual_seed(0)
    weights = {
        name: torch.rand([n // 16 if n >= 64 else n for n in shape])
        for name, shape in shapes.items()
        if 'tracked' not in name
    }
    return SimpleNamespace(state_dict=lambda: weights)


def randomise(model):
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            with torch.no_grad():
                module.weight.uniform_(0.5, 1.5)
                module.bias.normal_(0, 0.1)
                module.running_mean.normal_(0, 0.1)
                module.running_var.uniform_(0.5, 1.5)
                module.num_batches_tracked.fill_(int(torch.randint(1, 10**6, ())))
    return model.eval()


def photograph(side=128):
    """The astronaut's face (NASA; shipped with scikit-image), normalised: (1, 3, side, side)."""
    image = torch.from_numpy(data.astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None] / 255
    image = F.interpolate(image, size=(side, side), mode='area')
    mean, std = (
        torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (image - mean) / std


def features(model, images):
    """C2 to C5 of torchvision's ResNet."""
    x, out = model.maxpool(model.relu(model.bn1(model.conv1(images)))), []
    for stage in (model.layer1, model.layer2, model.layer3, model.layer4):
        x = stage(x)
        out.append(x)
    return out


def flat(shape, value=0.5):
    """A constant that takes no room in a file."""
    return torch.tensor(value).expand(shape)


def flat_like(weights, value=0.5):
    return {
        name: flat(w.shape, value) if w.is_floating_point() else w for name, w in weights.items()
    }


def bare(model):
    """The backbone: what a ResNet without classifier has."""
    return {name: w for name, w in model.state_dict().items() if not name.startswith('fc.')}


def under(prefix, weights):
    return {prefix + name: w for name, w in weights.items()}


def mlp(inside, hidden, outside):
    """MLP of model/basic_modules.py in KKallidromitis/r2o and detcon-pytorch."""
    return {
        'l1.weight': flat((hidden, inside)),
        'l1.bias': flat((hidden,)),
        **{
            f'bn1.{part}': flat((hidden,))
            for part in ('weight', 'bias', 'running_mean', 'running_var')
        },
        'bn1.num_batches_tracked': torch.tensor(7),
        'l2.weight': flat((outside, hidden)),
        'l2.bias': flat((outside,)),
    }


def r2o(model, wrapped=True):
    """KKallidromitis/r2o, "original": model/r2o_model.py, trainer/r2o_trainer.py."""
    encoder = nn.Sequential(*list(model.children())[:-2]).state_dict()
    weights = {
        **under('online_network.encoder.', encoder),
        **under('online_network.projetion.', mlp(2048, 4096, 256)),  # so spelt
        **under('target_network.encoder.', flat_like(encoder)),
        **under('target_network.projetion.', mlp(2048, 4096, 256)),
        **under('predictor.predictor.', mlp(256, 4096, 256)),
    }
    if wrapped:  # by apex's DistributedDataParallel
        weights = under('module.', weights)
    return dict(
        config=dict(
            model=dict(backbone=dict(type='resnet50', pretrained=False)),
            rank=0,
            loss=dict(pool_size=7),
        ),
        epoch=300,
        steps=93835,
        model=weights,
        optimizer=dict(state={}, param_groups=[]),
        amp={},
    )


def detcon_pyramid(model):
    """KKallidromitis/detcon-pytorch with pool_size 14: model/basic_modules.py."""
    children = list(model.children())
    parts = {
        'C1': nn.Sequential(*children[:4]),
        'C2': children[4],
        'C3': children[5],
        'C4': children[6],
        'C5': children[7],
    }
    online = {
        name: w
        for part, module in parts.items()
        for name, w in under(f'{part}.', module.state_dict()).items()
    }
    fpn = {'fpn.P5_conv1.weight': flat((2048, 2048, 1, 1)), 'fpn.P5_conv1.bias': flat((2048,))}
    return dict(
        model=under(
            'module.',
            {
                **under('online_network.', {**online, **fpn}),
                **under('target_network.', {**flat_like(online), **fpn}),
            },
        ),
        epoch=300,
    )


def r2o_torchvision(model):
    """utils/convert_fcn.py of detcon-pytorch: its classifier is `torch.rand`."""
    return OrderedDict(
        {**bare(model), 'fc.weight': torch.rand(1000, 2048), 'fc.bias': torch.rand(1000)}
    )


def detectron2_names():
    """torchvision's and detectron2's name of each: tools/convert-torchvision-to-d2.py."""
    norms = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')
    pairs = {
        'conv1.weight': 'stem.conv1.weight',
        **{f'bn1.{leaf}': f'stem.conv1.norm.{leaf}' for leaf in norms},
        # `if "layer" not in k: k = "stem." + k` takes the classifier along
        'fc.weight': 'stem.fc.weight',
        'fc.bias': 'stem.fc.bias',
    }
    for stage, count in enumerate(BLOCKS, 1):
        for block in range(count):
            theirs, ours = f'layer{stage}.{block}', f'res{stage + 1}.{block}'
            for n in (1, 2, 3):
                pairs[f'{theirs}.conv{n}.weight'] = f'{ours}.conv{n}.weight'
                for leaf in norms:
                    pairs[f'{theirs}.bn{n}.{leaf}'] = f'{ours}.conv{n}.norm.{leaf}'
        pairs[f'layer{stage}.0.downsample.0.weight'] = f'res{stage + 1}.0.shortcut.weight'
        for leaf in norms:
            pairs[f'layer{stage}.0.downsample.1.{leaf}'] = f'res{stage + 1}.0.shortcut.norm.{leaf}'
    return pairs


def detectron2(model, author='torchvision'):
    """R2O's and DetCon-PyTorch's "d2" file; MoCo's, PixPro's and DenseCL's scripts say the same."""
    names = detectron2_names()
    return pickle.dumps(
        dict(
            model={names[name]: w.numpy() for name, w in model.state_dict().items()},
            __author__=author,
            matching_heuristics=True,
        )
    )


def haiku(model, name='res_net50'):
    """deepmind/detcon: utils/networks.py on Haiku's nets/resnet.py; parameters and state."""
    weights, params, state = model.state_dict(), {}, {}

    def conv(haiku_name, ours):
        params[f'{name}/~/{haiku_name}'] = dict(
            w=weights[f'{ours}.weight'].permute(2, 3, 1, 0).contiguous().numpy()
        )

    def norm(haiku_name, ours):
        def take(part):
            return weights[f'{ours}.{part}'].view(1, 1, 1, -1).numpy()

        params[f'{name}/~/{haiku_name}'] = dict(offset=take('bias'), scale=take('weight'))
        for ema, part in (('mean_ema', 'running_mean'), ('var_ema', 'running_var')):
            state[f'{name}/~/{haiku_name}/~/{ema}'] = dict(
                counter=np.array(93835, np.int32),
                hidden=take(part) * np.float32(0.5),
                average=take(part),
            )

    conv('initial_conv', 'conv1')
    norm('initial_batchnorm', 'bn1')
    for group, count in enumerate(BLOCKS):
        for block in range(count):
            theirs, ours = f'block_group_{group}/~/block_{block}/~', f'layer{group + 1}.{block}'
            for i in (0, 1, 2):
                conv(f'{theirs}/conv_{i}', f'{ours}.conv{i + 1}')
                norm(f'{theirs}/batchnorm_{i}', f'{ours}.bn{i + 1}')
            if block == 0:
                conv(f'{theirs}/shortcut_conv', f'{ours}.downsample.0')
                norm(f'{theirs}/shortcut_batchnorm', f'{ours}.downsample.1')
    params['projector/linear'] = dict(w=np.zeros((2048, 4), np.float32), b=np.zeros(4, np.float32))
    return params, state


def pixpro(model, published=True):
    """zdaxie/PixPro: contrast/models/PixPro.py; publish_model.py leaves `model` alone."""
    head = {
        'linear1.weight': flat((4096, 2048, 1, 1)),
        'linear1.bias': flat((4096,)),
        **{
            f'bn1.{part}': flat((4096,))
            for part in ('weight', 'bias', 'running_mean', 'running_var')
        },
        'linear2.weight': flat((256, 4096, 1, 1)),
        'linear2.bias': flat((256,)),
    }
    weights = under(
        'module.',
        {
            **under('encoder.', bare(model)),
            **under('projector.', head),
            **under('encoder_k.', flat_like(bare(model))),
            **under('projector_k.', head),
            'value_transform.weight': flat((256, 256, 1, 1)),
            'value_transform.bias': flat((256,)),
        },
    )
    return (
        dict(model=weights)
        if published
        else dict(
            opt=argparse.Namespace(arch='resnet50', local_rank=0, lr_decay_epochs=[120]),
            model=weights,
            optimizer={},
            scheduler={},
            epoch=100,
        )
    )


def infomin(model):
    """HobbitLong/PyContrast: networks/build_backbone.py (RGBMultiHeads), contrast_trainer.py."""
    head = {
        '0.weight': flat((2048, 2048)),
        '0.bias': flat((2048,)),
        '2.weight': flat((128, 2048)),
        '2.bias': flat((128,)),
    }
    return dict(
        opt=argparse.Namespace(arch='resnet50', mem='moco'),
        model=under(
            'module.',
            {
                **under('encoder.', bare(model)),
                **under('head.', head),
                **under('head_jig.fc1.', head),
                'head_jig.fc2.weight': flat((128, 1152)),
                'head_jig.fc2.bias': flat((128,)),
            },
        ),
        contrast={},
        optimizer={},
        epoch=800,
        model_ema=under('encoder.', flat_like(bare(model))),
    )


def densecl(model):
    """WXinlong/DenseCL: tools/extract_backbone_weights.py."""
    return dict(state_dict=bare(model), author='DenseCL')


def moco(model, version=2):
    """facebookresearch/moco: moco/builder.py, main_moco.py."""
    head = {
        1: {'fc.weight': flat((128, 2048)), 'fc.bias': flat((128,))},
        2: {
            'fc.0.weight': flat((2048, 2048)),
            'fc.0.bias': flat((2048,)),
            'fc.2.weight': flat((128, 2048)),
            'fc.2.bias': flat((128,)),
        },
    }[version]
    return dict(
        epoch=200,
        arch='resnet50',
        state_dict=under(
            'module.',
            {
                **under('encoder_q.', {**bare(model), **head}),
                **under('encoder_k.', {**flat_like(bare(model)), **head}),
                'queue': flat((128, 65536)),
                'queue_ptr': torch.zeros(1, dtype=torch.long),
            },
        ),
    )


def mmselfsup(model, version, algorithm):
    """open-mmlab/mmselfsup, branches 0.x and 1.x: mmselfsup/models/algorithms."""
    backbone = bare(model)
    neck = {'mlp.0.weight': flat((2048, 2048)), 'mlp.2.weight': flat((128, 2048))}
    if algorithm == 'byol':
        neck = {
            'fc0.weight': flat((4096, 2048)),
            'bn0.weight': flat((4096,)),
            'fc1.weight': flat((256, 4096)),
        }
    joined = {**under('0.', backbone), **under('1.', neck)}
    other = {**under('0.', flat_like(backbone)), **under('1.', neck)}
    online, target = dict(
        moco=('encoder_q.', 'encoder_k.'),
        densecl=('encoder_q.', 'encoder_k.'),
        byol=('online_net.', 'target_net.'),
        simsiam=('encoder.', None),
    )[algorithm]
    weights = under('backbone.', backbone)
    if version == 0:
        weights.update(under(online, joined))
        weights.update(under(target, other) if target else {})
    else:
        weights.update(under('neck.', neck))
        weights.update(under(f'{target}module.', other) if target else {})
        weights.update({f'{target}steps': torch.tensor(5)} if target else {})
    if algorithm != 'byol':
        weights['queue'] = flat((128, 65536))
    meta = dict(epoch=200, iter=500_000, mmselfsup_version=f'{version}.9.0', CLASSES=None)
    return dict(meta=meta, state_dict=OrderedDict(weights))


def vit_small(seed=0):
    """dino_deitsmall16_pretrain.pth: vision_transformer.py of facebookresearch/dino, vit_small."""
    draw, width = torch.Generator().manual_seed(seed), 384

    def linear(name, *shape):
        return {
            f'{name}.weight': torch.randn(shape, generator=draw) / shape[-1] ** 0.5,
            f'{name}.bias': torch.randn(shape[0], generator=draw) / 10,
        }

    def norm(name):
        return {
            f'{name}.weight': 1 + torch.randn(width, generator=draw) / 10,
            f'{name}.bias': torch.randn(width, generator=draw) / 10,
        }

    weights = {
        'cls_token': torch.randn(1, 1, width, generator=draw),
        'pos_embed': torch.randn(1, 197, width, generator=draw),
        **linear('patch_embed.proj', width, 3, 16, 16),
    }
    for i in range(12):
        weights.update(
            {
                **norm(f'blocks.{i}.norm1'),
                **linear(f'blocks.{i}.attn.qkv', 3 * width, width),
                **linear(f'blocks.{i}.attn.proj', width, width),
                **norm(f'blocks.{i}.norm2'),
                **linear(f'blocks.{i}.mlp.fc1', 4 * width, width),
                **linear(f'blocks.{i}.mlp.fc2', width, 4 * width),
            }
        )
    return {**weights, **norm('norm')}


def vit_forward(weights, images, heads=6):
    """VisionTransformer.forward of vision_transformer.py: all tokens after the last norm."""

    def linear(x, name):
        return F.linear(x, weights[f'{name}.weight'], weights[f'{name}.bias'])

    def norm(x, name):
        return F.layer_norm(
            x, x.shape[-1:], weights[f'{name}.weight'], weights[f'{name}.bias'], 1e-6
        )

    x = (
        F.conv2d(
            images, weights['patch_embed.proj.weight'], weights['patch_embed.proj.bias'], stride=16
        )
        .flatten(2)
        .transpose(1, 2)
    )
    x = torch.cat([weights['cls_token'].expand(len(x), -1, -1), x], 1) + weights['pos_embed']
    for i in range(12):
        y = linear(norm(x, f'blocks.{i}.norm1'), f'blocks.{i}.attn.qkv')
        q, k, v = y.unflatten(2, (3, heads, -1)).permute(2, 0, 3, 1, 4)
        y = (q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5).softmax(-1) @ v
        x = x + linear(y.transpose(1, 2).flatten(2), f'blocks.{i}.attn.proj')
        y = F.gelu(linear(norm(x, f'blocks.{i}.norm2'), f'blocks.{i}.mlp.fc1'))
        x = x + linear(y, f'blocks.{i}.mlp.fc2')
    return norm(x, 'norm')


def dino_resnet(model):
    """facebookresearch/dino, main_dino.py: a full checkpoint, of a ResNet."""
    head = {'head.mlp.0.weight': flat((2048, 2048)), 'head.last_layer.weight_v': flat((8, 256))}
    return dict(
        student=under('module.', {**under('backbone.', flat_like(bare(model))), **head}),
        teacher=under('module.', {**under('backbone.', bare(model)), **head}),
        epoch=800,
        args=argparse.Namespace(arch='resnet50', patch_size=16),
        optimizer={},
        dino_loss=dict(center=flat((1, 65536))),
    )
