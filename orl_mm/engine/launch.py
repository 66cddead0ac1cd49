"""Turn ``dist_train.sh CONFIG GPUS`` into a torchrun command, or into an error with what to type.

GPUS is the number of processes over all nodes. ``tools/dist_*.sh`` run this file as a script, so
it imports nothing of this package.
"""

import os
import re
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

NODE_GPUS = 8  # GPUs of a node in the commands that a machine without GPU prints
Command = Callable[..., str]


class LaunchError(ValueError):
    """A launch that cannot work; the message has the commands to type."""


class Machine(NamedTuple):
    """This node."""

    gpus: int
    cores: int
    host: str = 'NODE0'
    has_srun: bool = False

    @property
    def places(self) -> int:
        """Processes that fit: one for each GPU, or else one for each core."""
        return self.gpus or self.cores

    def __str__(self) -> str:
        return f'{self.gpus} GPUs' if self.gpus else f'{self.cores} cores and no GPU'


class Launch(NamedTuple):
    """A command, and environment variables to set for it."""

    argv: list[str]
    env: dict[str, str]


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
        shell, positional, gpus, extra: What was typed: the shell script, CONFIG (and CHECKPOINT),
            GPUS, and further arguments, which are passed through.
        script: The Python script to start, ``.../tools/train.py``.
        env: NNODES ("4", or "2:4" for elastic), NODE_RANK, MASTER_ADDR, MASTER_PORT or PORT,
            MAX_RESTARTS, RDZV_ENDPOINT, RDZV_BACKEND, RDZV_ID, ALLOW_OVERSUBSCRIBE, and those of
            Slurm.
        machine: This node.

    Returns:
        Launch: torchrun with the processes of this node; in a Slurm batch script, srun of the same
        shell script on every node.

    Raises:
        LaunchError: See there.
    """

    def command(total: int, *more: str) -> str:
        return shlex.join([shell, *positional, str(total), *extra, *more])

    if not gpus.isdigit() or int(gpus) < 1:
        raise LaunchError(
            f'GPUS is the number of processes over all nodes, got {gpus!r}; type e.g. {command(8)}'
        )
    total = int(gpus)
    slurm = not env.get('NNODES') and bool({'SLURM_JOB_NODELIST', 'SLURM_NODELIST'} & set(env))
    text = env.get('NNODES') or '1'
    if slurm:
        text = env.get('SLURM_STEP_NUM_NODES') or env.get('SLURM_NNODES') or '1'
    if not re.fullmatch(r'[1-9]\d*(:[1-9]\d*)?', text):
        raise LaunchError(f'NNODES={text} is neither a number of nodes nor MIN:MAX (elastic)')
    nodes = int(text.split(':')[-1])
    share, rest = divmod(total, nodes)
    if rest:
        near = [command(n) for n in (total - rest, total - rest + nodes) if n]
        raise LaunchError(
            f'{total} processes do not divide over {nodes} nodes. Type one of:\n  '
            + '\n  '.join(near)
        )
    tasks = env.get('SLURM_STEP_NUM_TASKS')
    if slurm and tasks and int(tasks) != nodes:
        raise LaunchError(
            f'this Slurm step runs {tasks} tasks on {nodes} nodes, but one task per node starts '
            f'all processes of the node. Type:\n  srun --nodes={nodes} --ntasks-per-node=1 '
            + command(total)
        )
    if share > machine.places and (machine.gpus or env.get('ALLOW_OVERSUBSCRIBE') != '1'):
        raise LaunchError(_advice(total, nodes, machine, command, shell, extra))
    if slurm and nodes > 1 and machine.has_srun and 'SLURM_STEP_ID' not in env:
        srun = f'srun --nodes={nodes} --ntasks={nodes} --ntasks-per-node=1 --kill-on-bad-exit=1'
        return Launch([*srun.split(), shell, *positional, gpus, *extra], {})
    restarts = env.get('MAX_RESTARTS', '0')
    if not restarts.isdigit():
        raise LaunchError(f'MAX_RESTARTS={restarts} is not a number')
    resumes = any(word.split('=')[0] == '--resume' for word in extra)
    if restarts != '0' and shell.endswith('train.sh') and not resumes:
        raise LaunchError(
            f'MAX_RESTARTS={restarts} without --resume would start from the beginning after each '
            'failure; add --resume to the arguments'
        )
    hint = f'{command(total)}\non each node; the first one is {machine.host}'
    rendezvous = _rendezvous(text, nodes, slurm, restarts != '0', env, machine.host, hint)
    argv = [sys.executable, '-m', 'torch.distributed.run', *rendezvous]
    argv += [f'--nproc-per-node={share}', f'--max-restarts={restarts}']
    argv += [script, *positional, '--launcher', 'pytorch', *extra]
    added = {}
    if 'OMP_NUM_THREADS' not in env:  # torchrun would set 1 and warn
        added['OMP_NUM_THREADS'] = str(1 if machine.gpus else max(1, machine.cores // share))
    if restarts != '0' or any('rdzv' in word for word in argv):
        # Otherwise restarted processes find the addresses of dead ones in the shared store.
        added['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] = '1'
    return Launch(argv, added)


def _advice(
    total: int, nodes: int, machine: Machine, command: Command, shell: str, extra: Sequence[str]
) -> str:
    """Why ``total`` processes do not fit, and the commands that would start them."""
    lines = [
        f'{nodes} nodes would start {total // nodes} processes each, but this one has {machine}.'
        if nodes > 1
        else f'{total} processes cannot run here: this machine has {machine}, and no other nodes '
        'are given (NNODES, NODE_RANK and MASTER_ADDR, or a Slurm allocation).'
    ]
    per_node = machine.gpus or NODE_GPUS
    count = next(n for n in range(1, total + 1) if total % n == 0 and total // n <= per_node)
    each, first = total // count, machine.host if machine.gpus else 'NODE0'
    if count > 1:
        lines.append(f'On {count} nodes of {each} GPUs, {first} being the first, one line each:')
        for rank in range(count) if count <= 16 else (0, 1, count - 1):
            lines.append(f'  NNODES={count} NODE_RANK={rank} MASTER_ADDR={first} {command(total)}')
        srun = f'srun --nodes={count} --ntasks-per-node=1 --gpus-per-node={each}'
        lines += ['Under Slurm:', f'  {srun} {command(total)}']
    else:
        lines += [f'On a machine with {total} GPUs:', f'  {command(total)}']
    fits = min(total, machine.places)
    scale = shell.endswith('train.sh') and '--auto-scale-lr' not in extra
    only_here = command(fits, *['--auto-scale-lr'] * scale)
    lines += [f'On this machine only, with {fits}:', f'  {only_here}']
    if not machine.gpus:
        lines += [
            'Or, slowly, all of them on its cores:',
            f'  ALLOW_OVERSUBSCRIBE=1 {command(total)}',
        ]
    return '\n'.join(lines)


def _rendezvous(
    text: str, nodes: int, slurm: bool, restarts: bool, env: Mapping[str, str], host: str, hint: str
) -> list[str]:
    """torchrun's options for where the nodes meet.

    torchrun's static rendezvous (node rank, address, port) cannot restart; with restarts, the same
    address is used as the endpoint of its c10d backend.
    """

    def dynamic(endpoint: str) -> list[str]:
        backend, run = env.get('RDZV_BACKEND', 'c10d'), env.get('RDZV_ID', 'orl_mm')
        return [
            f'--nnodes={text}',
            f'--rdzv-backend={backend}',
            f'--rdzv-endpoint={endpoint}',
            f'--rdzv-id={run}',
        ]

    if env.get('RDZV_ENDPOINT'):
        return dynamic(env['RDZV_ENDPOINT'])
    if ':' in text:
        raise LaunchError(
            f'NNODES={text} is elastic and needs an endpoint; type\n'
            f'  NNODES={text} RDZV_ENDPOINT={host}:29500 {hint}'
        )
    port = env.get('MASTER_PORT') or env.get('PORT')
    if nodes == 1 and port is None:
        return ['--standalone', '--nnodes=1']  # picks a free port, so that two runs never meet
    rank, address = env.get('NODE_RANK'), env.get('MASTER_ADDR')
    if nodes == 1:
        rank, address = '0', 'localhost'
    elif slurm:
        names = ('SLURM_STEP_NODELIST', 'SLURM_JOB_NODELIST', 'SLURM_NODELIST')
        rank = rank or env.get('SLURM_NODEID')
        address = address or first_host(next(env[name] for name in names if env.get(name)))
        # Two jobs that share a node must not share a port.
        port = port or str(20000 + int(env.get('SLURM_JOB_ID', 0)) % 12000)
    if not rank or not address:
        missing = ' and '.join(['NODE_RANK'] * (not rank) + ['MASTER_ADDR'] * (not address))
        raise LaunchError(
            f'NNODES={text} also needs {missing}; type, with R = 0 to {nodes - 1},\n'
            f'  NNODES={text} NODE_RANK=R MASTER_ADDR={host} {hint}'
        )
    if not rank.isdigit() or int(rank) >= nodes:
        raise LaunchError(f'NODE_RANK={rank} is not one of 0 to {nodes - 1}')
    port = port or '29500'
    if restarts:
        return [*dynamic(f'{address}:{port}'), f'--rdzv-conf=is_host={int(rank == "0")}']
    where = [f'--master-addr={address}', f'--master-port={port}']
    return [f'--nnodes={nodes}', f'--node-rank={rank}', *where]


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
    count = len(names)
    try:
        if len(rest) <= count:
            raise LaunchError(
                f'usage: {shell} {" ".join(names)} GPUS [arguments]; GPUS: processes in all'
            )
        for name, path in zip(names, rest, strict=False):
            if '::' not in path and '://' not in path and not os.path.isfile(path):
                raise LaunchError(f'{name.lower()} {path!r} does not exist')
        import torch

        cores, srun = len(os.sched_getaffinity(0)), shutil.which('srun') is not None
        machine = Machine(torch.cuda.device_count(), cores, socket.gethostname(), srun)
        launch = plan(
            shell, script, rest[:count], rest[count], rest[count + 1 :], os.environ, machine
        )
        check_port(launch.argv, shlex.join([shell, *rest]))
    except (LaunchError, ModuleNotFoundError) as error:
        hint = f' for {sys.executable}; type `make env` once, or name another by PYTHON='
        hint = hint if isinstance(error, ModuleNotFoundError) else ''
        print(f'{shell}: {error}{hint}', file=sys.stderr)
        sys.exit(2)
    print('+', shlex.join(launch.argv), flush=True)
    os.execvpe(launch.argv[0], launch.argv, {**os.environ, **launch.env})


if __name__ == '__main__':
    main(sys.argv[1:])
