"""From ``dist_train.sh CONFIG GPUS`` to a torchrun command, or to what to type.

GPUS is the number of processes over all nodes. The rules are one pure function,
:func:`plan`, of the environment and the devices; :func:`main` (run as a file by
``tools/dist_*.sh``, so it imports nothing of this package) carries them out.
"""

import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

NODE_GPUS = 8  # devices of a node in commands printed on a machine without GPU
MOST_LINES = 16  # nodes up to which every node's command is printed


class LaunchError(ValueError):
    """A launch that cannot be right; the text holds the commands to type."""


@dataclass
class Machine:
    """What the launch needs to know of this machine."""

    gpus: int
    cores: int
    host: str = 'NODE0'
    has_srun: bool = False

    @property
    def places(self) -> int:
        """Processes that fit: one a GPU, else one a core."""
        return self.gpus or self.cores

    @property
    def has(self) -> str:
        if not self.gpus:
            return f'{self.cores} core{"s" * (self.cores > 1)} and no GPU'
        return f'{self.gpus} GPU{"s" * (self.gpus > 1)}'


@dataclass
class Launch:
    """A command and the environment variables to add to its own."""

    argv: list[str]
    env: dict[str, str] = field(default_factory=dict)


def plan(
    shell: str,
    script: str,
    positional: Sequence[str],
    gpus: str,
    extra: Sequence[str],
    env: Mapping[str, str],
    machine: Machine,
) -> Launch:
    """Decide what this node starts.

    Args:
        shell, positional, gpus, extra: What was typed: the shell script, CONFIG
            (and CHECKPOINT), GPUS and further arguments, passed through.
        script: The Python script to start, ``.../tools/train.py``.
        env: NNODES ("4", or "2:4" for elastic), NODE_RANK, MASTER_ADDR,
            MASTER_PORT or PORT, MAX_RESTARTS, RDZV_ENDPOINT, RDZV_BACKEND,
            RDZV_ID, ALLOW_OVERSUBSCRIBE, and Slurm's own.
        machine: This machine.

    Returns:
        Launch: torchrun with this node's share; inside a Slurm batch script,
        srun of the same script on every node.
    """
    if not gpus.isdigit() or int(gpus) < 1:
        raise LaunchError(
            f'GPUS is the number of processes over all nodes, got {gpus!r}; '
            f'usage: {shell} {" ".join(positional)} 8 [arguments]'
        )
    total = int(gpus)
    typed = Typed(shell, list(positional), list(extra))
    nodes = _nodes(env)
    if total % nodes.most:
        below = total - total % nodes.most
        raise LaunchError(
            '\n'.join(
                [f'{total} processes do not divide over {nodes.most} nodes. Type one of:']
                + [f'  {typed.command(number)}' for number in (below, below + nodes.most) if number]
            )
        )
    share = total // nodes.most
    _check_share(share, total, nodes, typed, env, machine)
    if nodes.slurm and nodes.most > 1 and machine.has_srun and 'SLURM_STEP_ID' not in env:
        return Launch(
            [
                'srun',
                f'--nodes={nodes.most}',
                f'--ntasks={nodes.most}',
                '--ntasks-per-node=1',
                '--kill-on-bad-exit=1',
                *typed.words(total),
            ]
        )
    restarts = _restarts(env, typed)
    meeting = _rendezvous(nodes, typed, total, env, machine, restarts)
    argv = [
        sys.executable,
        '-m',
        'torch.distributed.run',
        *meeting,
        f'--nproc-per-node={share}',
        f'--max-restarts={restarts}',
        script,
        *positional,
        '--launcher',
        'pytorch',
        *extra,
    ]
    added = {}
    if 'OMP_NUM_THREADS' not in env:
        # torchrun's own default is 1 and a warning.
        added['OMP_NUM_THREADS'] = str(1 if machine.gpus else max(1, machine.cores // share))
    if restarts or any('rdzv' in word for word in meeting):
        # Else restarted processes meet in the store of those that died, find
        # their addresses there and wait for them.
        added['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] = '1'
    return Launch(argv, added)


@dataclass
class Typed:
    """The command as the user typed it, to print it again with other numbers."""

    shell: str
    positional: list[str]
    extra: list[str]

    def words(self, total: int, *more: str) -> list[str]:
        return [self.shell, *self.positional, str(total), *self.extra, *more]

    def command(self, total: int, *more: str) -> str:
        return shlex.join(self.words(total, *more))


@dataclass
class Nodes:
    """How many nodes, and who says so."""

    most: int
    text: str
    slurm: bool = False


def _nodes(env: Mapping[str, str]) -> Nodes:
    text = env.get('NNODES', '')
    if text:
        if not re.fullmatch(r'[1-9]\d*(:[1-9]\d*)?', text):
            raise LaunchError(f'NNODES={text} is neither a number of nodes nor MIN:MAX (elastic)')
        return Nodes(int(text.split(':')[-1]), text)
    if 'SLURM_JOB_NODELIST' in env or 'SLURM_NODELIST' in env:
        text = env.get('SLURM_STEP_NUM_NODES') or env.get('SLURM_NNODES', '1')
        return Nodes(int(text), text, slurm=True)
    return Nodes(1, '1')


def _check_share(
    share: int, total: int, nodes: Nodes, typed: Typed, env: Mapping[str, str], machine: Machine
) -> None:
    tasks = env.get('SLURM_STEP_NUM_TASKS')
    if nodes.slurm and tasks and int(tasks) != nodes.most:
        raise LaunchError(
            f'this Slurm step runs {tasks} tasks on {nodes.most} nodes, but '
            'one task a node starts all processes of the node. Type:\n'
            f'  srun --nodes={nodes.most} --ntasks-per-node=1 '
            f'{typed.command(total)}'
        )
    if share <= machine.places or (not machine.gpus and env.get('ALLOW_OVERSUBSCRIBE') == '1'):
        return
    if nodes.most > 1:
        reason = (
            f'{nodes.most} nodes would start {share} processes each, but '
            f'this one has {machine.has}.'
        )
    else:
        reason = (
            f'{total} processes cannot run here: this machine has '
            f'{machine.has}, and nothing names other nodes (NNODES, '
            'NODE_RANK and MASTER_ADDR, or a Slurm allocation).'
        )
    raise LaunchError(reason + '\n' + advice(typed, total, machine))


def advice(typed: Typed, total: int, machine: Machine) -> str:
    """The commands that would start ``total`` processes, and what fits here."""
    per_node = machine.gpus or NODE_GPUS
    count = next(n for n in range(1, total + 1) if total % n == 0 and total // n <= per_node)
    each = total // count
    first = machine.host if machine.gpus else 'NODE0'
    lines = []
    if count > 1:
        lines.append(
            f'On {count} nodes with {each} GPUs each, the first of '
            f'them {first}, type on each its line:'
        )
        many = count > MOST_LINES
        for rank in (0, 1, count - 1) if many else range(count):
            lines += ['  ...'] if many and rank == count - 1 else []
            lines.append(
                f'  NNODES={count} NODE_RANK={rank} MASTER_ADDR={first} {typed.command(total)}'
            )
        lines += [
            'Under Slurm:',
            f'  srun --nodes={count} --ntasks-per-node=1 --gpus-per-node='
            f'{each} {typed.command(total)}',
        ]
    else:
        lines += [f'On a machine with {total} GPUs:', f'  {typed.command(total)}']
    fits = min(total, machine.places)
    scaled = (
        []
        if '--auto-scale-lr' in typed.extra or not typed.shell.endswith('train.sh')
        else ['--auto-scale-lr']
    )
    lines += [f'On this machine alone, with {fits}:', f'  {typed.command(fits, *scaled)}']
    if not machine.gpus:
        lines += [
            'Or, slower than that, all of them on its cores:',
            f'  ALLOW_OVERSUBSCRIBE=1 {typed.command(total)}',
        ]
    return '\n'.join(lines)


def _rendezvous(
    nodes: Nodes, typed: Typed, total: int, env: Mapping[str, str], machine: Machine, restarts: int
) -> list[str]:
    """torchrun's options of where the nodes meet.

    A static meeting point (node rank, address, port) cannot restart; where
    restarts are asked for, the same address serves torchrun's own backend.
    """
    port = env.get('MASTER_PORT') or env.get('PORT')
    endpoint = env.get('RDZV_ENDPOINT')
    if ':' in nodes.text and not endpoint:
        raise LaunchError(
            f'NNODES={nodes.text} is elastic and needs a meeting point; type on '
            f'every node:\n  NNODES={nodes.text} RDZV_ENDPOINT={machine.host}:'
            f'29500 {typed.command(total)}'
        )
    if endpoint:
        return _dynamic(nodes.text, endpoint, env)
    if nodes.most == 1 and port is None:
        # Standalone picks a free port, so two runs on one machine never meet.
        return ['--standalone', '--nnodes=1']
    rank, address = env.get('NODE_RANK'), env.get('MASTER_ADDR')
    if nodes.most == 1:
        rank, address = '0', 'localhost'
    elif nodes.slurm:
        rank = rank or env.get('SLURM_NODEID')
        address = address or first_host(
            env.get('SLURM_STEP_NODELIST') or env.get('SLURM_JOB_NODELIST') or env['SLURM_NODELIST']
        )
        # Two jobs that share a node must not share a port.
        port = port or str(20000 + int(env.get('SLURM_JOB_ID', 0)) % 12000)
    if not rank or not address:
        missing = ' and '.join(['NODE_RANK'] * (not rank) + ['MASTER_ADDR'] * (not address))
        raise LaunchError(
            f'NNODES={nodes.text} also needs {missing}; type on node R = 0 to '
            f'{nodes.most - 1}, the first of them {machine.host}:\n'
            f'  NNODES={nodes.text} NODE_RANK=R MASTER_ADDR={machine.host} '
            f'{typed.command(total)}'
        )
    if not rank.isdigit() or int(rank) >= nodes.most:
        raise LaunchError(f'NODE_RANK={rank} is not one of 0 to {nodes.most - 1}')
    port = port or '29500'
    if restarts:
        return _dynamic(nodes.text, f'{address}:{port}', env) + [
            f'--rdzv-conf=is_host={int(rank == "0")}'
        ]
    return [
        f'--nnodes={nodes.most}',
        f'--node-rank={rank}',
        f'--master-addr={address}',
        f'--master-port={port}',
    ]


def _dynamic(nodes: str, endpoint: str, env: Mapping[str, str]) -> list[str]:
    return [
        f'--nnodes={nodes}',
        f'--rdzv-backend={env.get("RDZV_BACKEND", "c10d")}',
        f'--rdzv-endpoint={endpoint}',
        f'--rdzv-id={env.get("RDZV_ID", "orl_mm")}',
    ]


def _restarts(env: Mapping[str, str], typed: Typed) -> int:
    restarts = env.get('MAX_RESTARTS', '0')
    if not restarts.isdigit():
        raise LaunchError(f'MAX_RESTARTS={restarts} is not a number')
    if (
        int(restarts)
        and typed.shell.endswith('train.sh')
        and not any(word.split('=')[0] == '--resume' for word in typed.extra)
    ):
        raise LaunchError(
            f'MAX_RESTARTS={restarts} without --resume would start from '
            'nothing after each failure; add --resume to the arguments'
        )
    return int(restarts)


def first_host(nodelist: str) -> str:
    """The first host of a Slurm node list: ``'gpu[03-10,12],x1'`` -> ``'gpu03'``."""
    match = re.match(r'([^,\[\]]+)(?:\[(\w+)[^\]]*\]([^,\[]*))?', nodelist)
    if match is None:
        raise LaunchError(
            f'cannot read the Slurm node list {nodelist!r}; set MASTER_ADDR to the first node'
        )
    return ''.join(part or '' for part in match.groups())


def check_port(argv: Sequence[str], command: str) -> None:
    """Raise LaunchError if the port on which the first node would listen is in use there."""
    ports = [word.split('=')[1] for word in argv if word.startswith('--master-port=')]
    if not ports or '--node-rank=0' not in argv:
        return
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind(('', int(ports[0])))
        except (OSError, ValueError, OverflowError) as error:
            raise LaunchError(
                f'port {ports[0]} cannot be used on this machine ({error}); on every node, choose '
                f'another:\n  MASTER_PORT=PORT {command}'
            ) from error


def main(argv: Sequence[str]) -> None:
    """``launch.py SHELL SCRIPT ARGUMENTS...``; replaces this process by torchrun."""
    shell, script, *rest = argv
    names = ['CONFIG', 'CHECKPOINT'] if script.endswith('test.py') else ['CONFIG']
    try:
        if len(rest) <= len(names):
            raise LaunchError(
                f'usage: {shell} {" ".join(names)} GPUS '
                '[arguments], GPUS = processes over all nodes'
            )
        positional, gpus, extra = (rest[: len(names)], rest[len(names)], rest[len(names) + 1 :])
        for name, path in zip(names, positional, strict=False):
            if '::' not in path and '://' not in path and not os.path.isfile(path):
                raise LaunchError(f'{name.lower()} {path!r} does not exist')
        import torch

        machine = Machine(
            torch.cuda.device_count(),
            len(os.sched_getaffinity(0)),
            socket.gethostname(),
            shutil.which('srun') is not None,
        )
        launch = plan(shell, script, positional, gpus, extra, os.environ, machine)
        check_port(launch.argv, shlex.join([shell, *rest]))
    except (LaunchError, ModuleNotFoundError) as error:
        hint = (
            ''
            if isinstance(error, LaunchError)
            else (f' for {sys.executable}; type `make env` once, or name another by PYTHON=')
        )
        print(f'{shell}: {error}{hint}', file=sys.stderr)
        sys.exit(2)
    print('+', shlex.join(launch.argv), flush=True)
    os.execvpe(launch.argv[0], launch.argv, {**os.environ, **launch.env})


if __name__ == '__main__':
    main(sys.argv[1:])
