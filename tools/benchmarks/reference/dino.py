"""One DINO training step as the public code writes it.

Rewritten from reading github.com/facebookresearch/dino (Apache 2.0): ``main_dino.py``,
``utils.py`` and ``vision_transformer.py``, without its logging, schedules, stochastic depth
and resizing of position embeddings.
"""

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Block(nn.Module):
    """Pre-norm block whose attention matrix is materialized."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm1, self.norm2 = (nn.LayerNorm(dim, eps=1e-6) for _ in range(2))
        self.attn = nn.ModuleDict(dict(qkv=nn.Linear(dim, 3 * dim), proj=nn.Linear(dim, dim)))
        self.mlp = nn.ModuleDict(dict(fc1=nn.Linear(dim, 4 * dim), fc2=nn.Linear(4 * dim, dim)))

    def forward(self, x: Tensor) -> Tensor:
        b, n, c = x.shape
        qkv = self.attn['qkv'](self.norm1(x))
        q, k, v = qkv.reshape(b, n, 3, self.heads, c // self.heads).permute(2, 0, 3, 1, 4)
        attn = ((q @ k.transpose(-2, -1)) * (c // self.heads) ** -0.5).softmax(-1)
        x = x + self.attn['proj']((attn @ v).transpose(1, 2).reshape(b, n, c))
        return x + self.mlp['fc2'](F.gelu(self.mlp['fc1'](self.norm2(x))))


class PublishedViT(nn.Module):
    """ViT whose parameters have the public names."""

    def __init__(
        self, size: int = 224, patch: int = 16, dim: int = 384, depth: int = 12, heads: int = 6
    ) -> None:
        super().__init__()
        self.patch_embed = nn.ModuleDict(dict(proj=nn.Conv2d(3, dim, patch, patch)))
        self.cls_token = nn.Parameter(torch.randn(1, 1, dim) * 0.02)
        self.pos_embed = nn.Parameter(torch.randn(1, (size // patch) ** 2 + 1, dim) * 0.02)
        self.blocks = nn.ModuleList(Block(dim, heads) for _ in range(depth))
        self.norm = nn.LayerNorm(dim, eps=1e-6)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.patch_embed['proj'](x).flatten(2).transpose(1, 2)
        x = torch.cat([self.cls_token.expand(len(x), -1, -1), x], 1) + self.pos_embed
        for block in self.blocks:
            x = block(x)
        return self.norm(x)[:, 0]


class PublishedHead(nn.Module):
    """MLP, l2 normalization, and a linear layer with weight norm."""

    def __init__(self, dim: int, out: int, hidden: int = 2048, bottleneck: int = 256) -> None:
        super().__init__()
        self.mlp = nn.Sequential(
            nn.Linear(dim, hidden),
            nn.GELU(),
            nn.Linear(hidden, hidden),
            nn.GELU(),
            nn.Linear(hidden, bottleneck),
        )
        last = nn.Linear(bottleneck, out, bias=False)
        self.last_layer = nn.utils.parametrizations.weight_norm(last)
        g = self.last_layer.parametrizations.weight.original0
        g.data.fill_(1)
        g.requires_grad = False

    def forward(self, x: Tensor) -> Tensor:
        return self.last_layer(F.normalize(self.mlp(x), dim=-1, p=2))


class PublishedStep:
    """Teacher, student, centered loss, clipping, AdamW, moving average."""

    def __init__(self, crops: list[Tensor], out: int, lr: float = 1e-4, **vit) -> None:
        self.crops = crops
        backbone = PublishedViT(**vit)
        dim = backbone.cls_token.shape[-1]
        self.student = nn.Sequential(backbone, PublishedHead(dim, out)).to(crops[0].device)
        self.teacher = copy.deepcopy(self.student).requires_grad_(False)
        self.center = torch.zeros(1, out, device=crops[0].device)
        params = [p for p in self.student.parameters() if p.requires_grad]
        vectors = dict(params=[p for p in params if p.dim() <= 1], weight_decay=0.0)
        groups: list[dict] = [dict(params=[p for p in params if p.dim() > 1]), vectors]
        self.optimizer = torch.optim.AdamW(groups, lr=lr, weight_decay=0.04)

    def loss(self) -> Tensor:
        """The scalar to minimize; updates the center."""
        with torch.no_grad():
            teacher = self.teacher(torch.cat(self.crops[:2]))
        student = (self.student(torch.cat(self.crops)) / 0.1).chunk(len(self.crops))
        targets = F.softmax((teacher - self.center) / 0.04, dim=-1).detach().chunk(2)
        total, terms = student[0].new_zeros(()), 0
        for i, q in enumerate(targets):
            for v, out in enumerate(student):
                if v != i:
                    total = total + torch.sum(-q * F.log_softmax(out, dim=-1), dim=-1).mean()
                    terms += 1
        mean = torch.sum(teacher, dim=0, keepdim=True) / len(teacher)
        self.center = self.center * 0.9 + mean * 0.1
        return total / terms

    def __call__(self) -> None:
        loss = self.loss()
        self.optimizer.zero_grad()
        loss.backward()
        for p in self.student.parameters():
            if p.grad is not None:
                scale = 3.0 / (p.grad.norm(2) + 1e-6)
                if scale < 1:
                    p.grad.mul_(scale)
        self.optimizer.step()
        with torch.no_grad():
            pairs = zip(self.student.parameters(), self.teacher.parameters(), strict=True)
            for mine, its in pairs:
                its.mul_(0.996).add_((1 - 0.996) * mine.detach())
