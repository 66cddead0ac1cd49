"""LinearProbe: frozen features, their order and norms, and labels of which some are unknown."""

import math

import pytest
import torch
from mmengine.registry import MODELS as ROOT
from mmpretrain.structures import DataSample

from orl_mm.models.probes.linear_probe import LinearProbe, known_label_loss
from orl_mm.registry import MODELS
from orl_mm.weights import checkpoints_must_fit
from tests.test_engine.guided import SIDE, VIT, build, dino
from tests.test_models.test_attention_probe import load

BACKBONE = dict(type='mmpretrain.VisionTransformer', **VIT)
IMAGES = torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(0))
NAN = float('nan')


def probe(**options):
    torch.manual_seed(3)
    return MODELS.build(
        dict(dict(type='orl_mm.LinearProbe', backbone=dict(BACKBONE), num_classes=2), **options)
    )


def labeled(rows):
    return [DataSample().set_gt_score(torch.tensor(row)) for row in rows]


def test_a_loss_by_hand():
    """Known: -log s(0), -log s(1), -log(1 - s(-2)); one is unknown."""
    logits = torch.tensor([[0.0, 1.0], [5.0, -2.0]])
    loss = known_label_loss(logits, torch.tensor([[1.0, 1.0], [NAN, 0.0]]))
    by_hand = (math.log(2) + math.log(1 + math.exp(-1)) + math.log(1 + math.exp(-2))) / 3
    assert loss.item() == pytest.approx(by_hand, rel=1e-6)


def test_unknown_labels_have_no_gradient_and_may_be_all():
    logits = torch.randn(3, 2, requires_grad=True)
    known_label_loss(logits, torch.tensor([[1.0, NAN], [0.0, NAN], [NAN, NAN]])).backward()
    assert (logits.grad[:, 1] == 0).all()
    assert logits.grad[2, 0] == 0
    assert (logits.grad[:2, 0] != 0).all()
    loss = known_label_loss(logits, torch.full((3, 2), NAN))
    assert loss.item() == 0
    assert loss.requires_grad


def test_features_are_cls_after_the_last_norm():
    model = probe().eval()
    tokens = []
    model.backbone.ln1.register_forward_hook(lambda m, i, out: tokens.append(out))
    features = model.extract_feat(IMAGES)
    assert torch.equal(features, tokens[0][:, 0])
    assert not features.requires_grad
    torch.testing.assert_close(features.mean(1), torch.zeros(4), atol=1e-6, rtol=0)
    assert torch.equal(model(IMAGES), model(features))
    torch.testing.assert_close(model(features), model.linear(tokens[0][:, 0]))


def test_last_blocks_are_normed_and_side_by_side():
    """As eval_linear.py: blocks in their order, the final norm on each."""
    model = probe(blocks=2).eval()
    blocks = []
    for layer in model.backbone.layers:
        layer.register_forward_hook(lambda m, i, out: blocks.append(out))
    features = model.extract_feat(IMAGES)
    expected = torch.cat([model.backbone.ln1(x)[:, 0] for x in blocks], 1)
    assert features.shape == (4, 24)
    assert model.linear.in_features == 24
    torch.testing.assert_close(features, expected)


def test_maps_of_a_convolutional_network_are_averaged():
    model = probe(
        backbone=dict(type='mmpretrain.ResNet', depth=18, base_channels=8, stem_channels=8),
        in_channels=64,
    ).eval()
    torch.testing.assert_close(model.extract_feat(IMAGES), model.backbone(IMAGES)[-1].mean((2, 3)))


def test_only_the_linear_layer_trains():
    model = probe(backbone=dict(BACKBONE, drop_path_rate=0.5, drop_rate=0.5)).train()
    assert model.training
    assert not model.backbone.training
    assert torch.equal(model.extract_feat(IMAGES), model.extract_feat(IMAGES))
    model(IMAGES, labeled([[1.0, 0.0]] * 4), mode='loss')['loss'].backward()
    assert {name for name, p in model.named_parameters() if p.requires_grad} == {
        'linear.weight',
        'linear.bias',
    }
    assert all(p.grad is None for p in model.backbone.parameters())
    assert model.linear.weight.grad.abs().sum() > 0


def test_prediction_keeps_confident_scores_apart():
    model = probe()
    torch.nn.init.zeros_(model.linear.weight)
    for bias in (20.0, 30.0):
        model.linear.bias.data[:] = bias
        samples = model(IMAGES, labeled([[0.0, NAN]] * 4), mode='predict')
        assert samples[0].pred_score[0].item() == pytest.approx(
            1 / (1 + math.exp(-bias)), abs=1e-15
        )
    assert samples[0].pred_score[0] < 1.0
    assert 'gt_score' in samples[0]
    assert len(model(IMAGES, mode='predict')) == 4


def test_preprocessor_normalizes_images_and_leaves_features():
    model = probe(data_preprocessor=dict(mean=[10.0, 20.0, 30.0], std=[2.0, 2.0, 2.0], to_rgb=True))
    image = torch.zeros(1, 3, 8, 8, dtype=torch.uint8)
    image[:, 0] = 34  # blue
    data = model.data_preprocessor(dict(inputs=image, data_samples=labeled([[1.0, 0.0]])))
    assert data['inputs'][0, :, 0, 0].tolist() == [-5.0, -10.0, 2.0]
    data = model.data_preprocessor(dict(inputs=torch.full((1, 12), 7.0), data_samples=['kept']))
    assert (data['inputs'] == 7).all()
    assert data['data_samples'] == ['kept']


def test_weights_of_pretraining_and_its_own():
    pretrained = build(dino())
    with torch.no_grad():
        pretrained.teacher['backbone'].cls_token.fill_(0.5)
    model = probe()
    head = model.linear.weight.clone()
    with checkpoints_must_fit():  # as tools/train.py with load_from
        from mmengine.runner.checkpoint import _load_checkpoint_to_model

        _load_checkpoint_to_model(model, dict(state_dict=pretrained.state_dict()), strict=False)
    assert (model.backbone.cls_token == 0.5).all()
    assert torch.equal(model.linear.weight, head)
    model.linear.weight.data.fill_(1.0)
    again = load(probe(), model.state_dict())  # as tools/test.py
    assert (again.linear.weight == 1).all()
    assert (again.backbone.cls_token == 0.5).all()
    with pytest.raises(ValueError, match='of the 32 tensors of LinearProbe'):
        load(probe(), pretrained.state_dict())  # a probe that was not trained


@pytest.mark.parametrize(
    ('options', 'said'),
    [
        (dict(num_classes=0), 'must be positive'),
        (dict(blocks=0), 'must be positive'),
        (dict(backbone=dict(type='mmpretrain.ResNet', depth=18)), 'give in_channels'),
        (dict(backbone=dict(BACKBONE, final_norm=False), blocks=2), 'final_norm=True'),
    ],
)
def test_bad_options(options, said):
    with pytest.raises(ValueError, match=said):
        probe(**options)


def test_bad_samples_and_modes():
    model = probe()
    assert ROOT.get('orl_mm.LinearProbe') is LinearProbe
    for samples in (None, [DataSample() for _ in IMAGES]):
        with pytest.raises(ValueError, match='needs data samples with gt_score'):
            model(IMAGES, samples, mode='loss')
    with pytest.raises(ValueError, match='3 classes and the probe 2'):
        model(IMAGES, labeled([[1.0, 0.0, 1.0]] * 4), mode='loss')
    with pytest.raises(ValueError, match="got 'train'"):
        model(IMAGES, mode='train')
