#!/usr/bin/env python
"""Rename published weights for the backbones of mmpretrain.

    tools/convert_weights.py dino_deitsmall16_pretrain.pth pretrained/dino_vits16.pth

then in any config: backbone=dict(..., init_cfg=dict(type='orl_mm.PretrainedBackbone',
checkpoint='pretrained/dino_vits16.pth')). Takes the ViTs of facebookresearch/dino, as
backbones and as full checkpoints (--network chooses the teacher or the student); any other
file is refused. Files are read as data: nothing in them is run.
"""
import argparse
import hashlib
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

try:
    import orl_mm  # noqa: E402, F401
except ModuleNotFoundError as error:
    sys.exit(f'{error}; type `make env` once, then `source .venv/bin/activate` (or '
             f'.venv/bin/python {sys.argv[0]} ...)')
import torch  # noqa: E402
from orl_mm.engine.checkpoint import load_weights  # noqa: E402
from orl_mm.engine.dino_weights import convert_dino_vit  # noqa: E402


def parse_args(argv=None) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('source', type=Path, help='the published file')
    parser.add_argument('out', type=Path, help='where the converted one goes')
    parser.add_argument('--network', choices=('teacher', 'student'), default='teacher',
                        help='of a full checkpoint (default: teacher)')
    return parser.parse_args(argv)


def main(argv=None) -> int:
    """Convert, write, say what was done. Returns the exit status."""
    args = parse_args(argv)
    try:
        content = load_weights(args.source)
        if not isinstance(content, dict):
            raise ValueError(f'it holds a {type(content).__name__}, not names and tensors')
        weights = convert_dino_vit(content, args.network)
    except (FileNotFoundError, ValueError) as error:
        print(f'{args.source}: {error}', file=sys.stderr)
        return 1
    digest = hashlib.sha256(args.source.read_bytes()).hexdigest()
    args.out.parent.mkdir(parents=True, exist_ok=True)
    torch.save(dict(state_dict=weights, meta=dict(source=args.source.name, sha256=digest)),
               args.out)
    width, blocks = weights['cls_token'].shape[-1], sum('attn.qkv.weight' in n for n in weights)
    print(f'{args.out}: {len(weights)} tensors of a ViT with {blocks} blocks, {width} wide')
    return 0


if __name__ == '__main__':
    sys.exit(main())
