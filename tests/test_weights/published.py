"""Files with exactly the names and shapes that each code publishes, around one ResNet-50.

Names come from the publishers' sources or from torchvision, never from orl_mm. Each function
returns the content of a file; the other network and the heads are constants of the right shape.
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
    return randomize(torchvision.models.resnet50(num_classes=1000))


def light_resnet50():
    """The same names and shapes; each tensor is a different constant, expanded to save memory."""
    with torch.device('meta'):
        model = torchvision.models.resnet50()
    state = enumerate(model.state_dict().items())
    model.load_state_dict(
        {
            k: flat(w.shape, float(i)) if w.is_floating_point() else torch.tensor(i)
            for i, (k, w) in state
        },
        assign=True,
    )
    return model


def narrow_resnet50():
    """A state dict a sixteenth as wide, for files that store every number."""
    torch.manual_seed(0)
    weights = {
        name: torch.rand([n // 16 if n >= 64 else n for n in w.shape])
        for name, w in light_resnet50().state_dict().items()
        if 'tracked' not in name
    }
    return SimpleNamespace(state_dict=lambda: weights)


def randomize(model):
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
    """The astronaut's face (NASA; shipped with scikit-image), normalized: (1, 3, side, side)."""
    image = torch.from_numpy(data.astronaut()[:256, 96:352].copy()).permute(2, 0, 1)[None] / 255
    image = F.interpolate(image, size=(side, side), mode='area')
    mean, std = (
        torch.tensor(x).view(1, 3, 1, 1) for x in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
    )
    return (image - mean) / std


def flat(shape, value=0.5):
    """A constant that takes no room in a file."""
    return torch.tensor(value).expand(shape)


def flat_like(weights):
    return {name: flat(w.shape) if w.is_floating_point() else w for name, w in weights.items()}


def bare(model):
    """The backbone: what a ResNet without classifier has."""
    return {name: w for name, w in model.state_dict().items() if not name.startswith('fc.')}


def under(prefix, weights):
    return {prefix + name: w for name, w in weights.items()}


def linear(name, outside, *inside):
    return {f'{name}.weight': flat((outside, *inside)), f'{name}.bias': flat((outside,))}


def norm(name, width):
    parts = ('weight', 'bias', 'running_mean', 'running_var')
    return {f'{name}.{part}': flat((width,)) for part in parts}


def mlp(inside, hidden, outside):
    """MLP of model/basic_modules.py in KKallidromitis/r2o and detcon-pytorch."""
    counter = {'bn1.num_batches_tracked': torch.tensor(7)}
    l1, l2 = linear('l1', hidden, inside), linear('l2', outside, hidden)
    return {**l1, **norm('bn1', hidden), **counter, **l2}


def r2o(model, wrapped=True):
    """KKallidromitis/r2o, "original": model/r2o_model.py, trainer/r2o_trainer.py."""
    encoder = nn.Sequential(*list(model.children())[:-2]).state_dict()
    weights = {
        **under('online_network.encoder.', encoder),
        **under('online_network.projetion.', mlp(2048, 4096, 256)),  # sic
        **under('target_network.encoder.', flat_like(encoder)),
        **under('target_network.projetion.', mlp(2048, 4096, 256)),
        **under('predictor.predictor.', mlp(256, 4096, 256)),
    }
    if wrapped:  # by apex's DistributedDataParallel
        weights = under('module.', weights)
    backbone = dict(type='resnet50', pretrained=False)
    config = dict(model=dict(backbone=backbone), rank=0, loss=dict(pool_size=7))
    optimizer = dict(state={}, param_groups=[])
    return dict(config=config, epoch=300, steps=93835, model=weights, optimizer=optimizer, amp={})


def detcon_pyramid(model):
    """KKallidromitis/detcon-pytorch with pool_size 14: model/basic_modules.py."""
    children = list(model.children())
    parts = dict(zip(('C2', 'C3', 'C4', 'C5'), children[4:8], strict=True))
    online = linear('fpn.P5_conv1', 2048, 2048, 1, 1)
    for part, module in dict(C1=nn.Sequential(*children[:4]), **parts).items():
        online.update(under(f'{part}.', module.state_dict()))
    target = {name: w if 'fpn' in name else flat_like({0: w})[0] for name, w in online.items()}
    networks = {**under('online_network.', online), **under('target_network.', target)}
    return dict(model=under('module.', networks), epoch=300)


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
    """R2O's and DetCon-PyTorch's "d2" file; MoCo, PixPro and DenseCL write the same format."""
    names = detectron2_names()
    weights = {names[name]: w.numpy() for name, w in model.state_dict().items()}
    return pickle.dumps(dict(model=weights, __author__=author, matching_heuristics=True))


def haiku(model, name='res_net50'):
    """deepmind/detcon: utils/networks.py on Haiku's nets/resnet.py; parameters and state."""
    weights, params, state = model.state_dict(), {}, {}

    def block(at, ours, *layers):
        """Convolution and norm of Haiku's and torchvision's names."""
        for conv, norm, conv_name, norm_name in layers:
            w = weights[f'{ours}{conv_name}.weight'].permute(2, 3, 1, 0).contiguous().numpy()
            params[f'{name}/~/{at}{conv}'] = dict(w=w)
            scale, offset, mean, var = (
                weights[f'{ours}{norm_name}.{part}'].view(1, 1, 1, -1).numpy()
                for part in ('weight', 'bias', 'running_mean', 'running_var')
            )
            params[f'{name}/~/{at}{norm}'] = dict(offset=offset, scale=scale)
            for ema, average in (('mean_ema', mean), ('var_ema', var)):
                state[f'{name}/~/{at}{norm}/~/{ema}'] = dict(
                    counter=np.array(93835, np.int32),
                    hidden=average * np.float32(0.5),
                    average=average,
                )

    block('', '', ('initial_conv', 'initial_batchnorm', 'conv1', 'bn1'))
    inner = [(f'conv_{i}', f'batchnorm_{i}', f'conv{i + 1}', f'bn{i + 1}') for i in (0, 1, 2)]
    shortcut = ('shortcut_conv', 'shortcut_batchnorm', 'downsample.0', 'downsample.1')
    for group, count in enumerate(BLOCKS):
        for i in range(count):
            layers = [*inner, shortcut] if i == 0 else inner
            block(f'block_group_{group}/~/block_{i}/~/', f'layer{group + 1}.{i}.', *layers)
    params['projector/linear'] = dict(w=np.zeros((2048, 4), np.float32), b=np.zeros(4, np.float32))
    return params, state


def pixpro(model, published=True):
    """zdaxie/PixPro: contrast/models/PixPro.py; publish_model.py keeps `model` only."""
    l1, l2 = linear('linear1', 4096, 2048, 1, 1), linear('linear2', 256, 4096, 1, 1)
    head = {**l1, **norm('bn1', 4096), **l2}
    weights = {
        **under('encoder.', bare(model)),
        **under('projector.', head),
        **under('encoder_k.', flat_like(bare(model))),
        **under('projector_k.', head),
        **linear('value_transform', 256, 256, 1, 1),
    }
    content = dict(model=under('module.', weights))
    if not published:
        opt = argparse.Namespace(arch='resnet50', local_rank=0, lr_decay_epochs=[120])
        content.update(opt=opt, optimizer={}, scheduler={}, epoch=100)
    return content


def infomin(model):
    """HobbitLong/PyContrast: networks/build_backbone.py (RGBMultiHeads), contrast_trainer.py."""
    head = {**linear('0', 2048, 2048), **linear('2', 128, 2048)}
    weights = {
        **under('encoder.', bare(model)),
        **under('head.', head),
        **under('head_jig.fc1.', head),
        **linear('head_jig.fc2', 128, 1152),
    }
    return dict(
        opt=argparse.Namespace(arch='resnet50', mem='moco'),
        model=under('module.', weights),
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
    head = linear('fc', 128, 2048)
    if version == 2:
        head = {**linear('fc.0', 2048, 2048), **linear('fc.2', 128, 2048)}
    weights = {
        **under('encoder_q.', {**bare(model), **head}),
        **under('encoder_k.', {**flat_like(bare(model)), **head}),
        'queue': flat((128, 65536)),
        'queue_ptr': torch.zeros(1, dtype=torch.long),
    }
    return dict(epoch=200, arch='resnet50', state_dict=under('module.', weights))


def mmselfsup(model, version, algorithm):
    """open-mmlab/mmselfsup, branches 0.x and 1.x: mmselfsup/models/algorithms."""
    backbone = bare(model)
    neck = {'mlp.0.weight': flat((2048, 2048)), 'mlp.2.weight': flat((128, 2048))}
    joined = {**under('0.', backbone), **under('1.', neck)}
    other = {**under('0.', flat_like(backbone)), **under('1.', neck)}
    online, target = dict(
        moco=('encoder_q.', 'encoder_k.'),
        densecl=('encoder_q.', 'encoder_k.'),
        byol=('online_net.', 'target_net.'),
        simsiam=('encoder.', None),
    )[algorithm]
    weights = under('backbone.', backbone)
    weights.update(under(online, joined) if version == 0 else under('neck.', neck))
    if target:
        weights.update(under(target if version == 0 else f'{target}module.', other))
    if target and version == 1:
        weights[f'{target}steps'] = torch.tensor(5)
    if algorithm != 'byol':
        weights['queue'] = flat((128, 65536))
    meta = dict(epoch=200, iter=500_000, mmselfsup_version=f'{version}.9.0', CLASSES=None)
    return dict(meta=meta, state_dict=OrderedDict(weights))


def vit_small(seed=0):
    """dino_deitsmall16_pretrain.pth: vision_transformer.py of facebookresearch/dino, vit_small."""
    draw, width = torch.Generator().manual_seed(seed), 384

    def random(*shape):
        return torch.randn(shape, generator=draw)

    def linear(name, *shape):
        scale = shape[-1] ** 0.5
        return {f'{name}.weight': random(*shape) / scale, f'{name}.bias': random(shape[0]) / 10}

    def norm(name):
        return {f'{name}.weight': 1 + random(width) / 10, f'{name}.bias': random(width) / 10}

    weights = dict(cls_token=random(1, 1, width), pos_embed=random(1, 197, width))
    weights.update(linear('patch_embed.proj', width, 3, 16, 16))
    for i in range(12):
        weights.update(norm(f'blocks.{i}.norm1'))
        weights.update(linear(f'blocks.{i}.attn.qkv', 3 * width, width))
        weights.update(linear(f'blocks.{i}.attn.proj', width, width))
        weights.update(norm(f'blocks.{i}.norm2'))
        weights.update(linear(f'blocks.{i}.mlp.fc1', 4 * width, width))
        weights.update(linear(f'blocks.{i}.mlp.fc2', width, 4 * width))
    return {**weights, **norm('norm')}


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
