"""What dist_train.sh starts, by environment and devices; no GPU needed."""

import os
import socket
import subprocess
import sys

import pytest
from torch.distributed.elastic.utils.distributed import get_free_port

from orl_mm.engine.launch import LaunchError, Machine, check_port, first_host, main, plan

SHELL = 'tools/dist_train.sh'
GPU8 = Machine(gpus=8, cores=64, host='node0')
CPU2 = Machine(gpus=0, cores=2, host='laptop')
RENDEZVOUS = dict(NNODES='16', NODE_RANK='3', MASTER_ADDR='10.0.0.1')
SLURM = dict(
    SLURM_NNODES='16', SLURM_NODEID='3', SLURM_JOB_ID='4711', SLURM_JOB_NODELIST='gpu[03-18]'
)


def launch(gpus, env=None, machine=GPU8, extra=(), shell=SHELL):
    return plan(shell, 'tools/train.py', ['c.py'], str(gpus), list(extra), env or {}, machine)


def refusal(gpus, env=None, machine=GPU8, extra=(), shell=SHELL):
    """The error of a launch that cannot work."""
    with pytest.raises(LaunchError) as error:
        launch(gpus, env, machine, extra, shell)
    return str(error.value)


def words(text):
    """Options written as ``name=value``, as a dict."""
    return dict(word.split('=', 1) for word in text.split())


def options(argv):
    """torchrun's options as a dict, and what follows the script."""
    assert argv[:3] == [sys.executable, '-m', 'torch.distributed.run']
    script = argv.index('tools/train.py')
    pairs = [word.lstrip('-').split('=', 1) for word in argv[3:script]]
    return {pair[0]: pair[-1] for pair in pairs}, argv[script + 1 :]


@pytest.mark.parametrize(
    ('gpus', 'env', 'expected'),
    [
        (8, {}, 'standalone=standalone nnodes=1 nproc-per-node=8'),
        (
            8,
            dict(PORT='29555'),
            'nnodes=1 node-rank=0 master-addr=localhost master-port=29555 nproc-per-node=8',
        ),
        (
            128,
            RENDEZVOUS,
            'nnodes=16 node-rank=3 master-addr=10.0.0.1 master-port=29500 nproc-per-node=8',
        ),
    ],
)
def test_torchrun_options(gpus, env, expected):
    given, rest = options(launch(gpus, env, extra=['--amp', '--seed=1']).argv)
    assert given == {**words(expected), 'max-restarts': '0'}
    assert rest == ['c.py', '--launcher', 'pytorch', '--amp', '--seed=1']


STEP = words(
    'SLURM_STEP_ID=1 SLURM_STEP_NUM_NODES=2 SLURM_STEP_NUM_TASKS=2 '
    'SLURM_STEP_NODELIST=gpu[07-08] SLURM_NODEID=1'
)


@pytest.mark.parametrize(
    ('gpus', 'more', 'expected'),
    [
        (128, {}, 'nnodes=16 node-rank=3 nproc-per-node=8 master-addr=gpu03'),
        (128, dict(SLURM_STEP_ID='0'), 'nnodes=16 node-rank=3 nproc-per-node=8 master-addr=gpu03'),
        (16, STEP, 'nnodes=2 node-rank=1 nproc-per-node=8 master-addr=gpu07'),
    ],
    ids=['batch script', 'whole step', 'step on part of the allocation'],
)
def test_slurm_node_starts_its_share(gpus, more, expected):
    given, _ = options(launch(gpus, {**SLURM, **more}).argv)
    assert words(expected).items() <= given.items()
    assert given['master-port'] == str(20000 + 4711)


def test_batch_script_starts_itself_on_every_node():
    machine = Machine(gpus=8, cores=64, host='gpu03', has_srun=True)
    env = dict(SLURM, SLURM_NODEID='0')
    srun = 'srun --nodes=16 --ntasks=16 --ntasks-per-node=1 --kill-on-bad-exit=1'
    assert launch(128, env, machine, ['--amp']).argv == f'{srun} {SHELL} c.py 128 --amp'.split()
    # The step that srun made is a node of its own.
    step = dict(env, SLURM_STEP_ID='0', SLURM_STEP_NUM_NODES='16', SLURM_STEP_NUM_TASKS='16')
    assert options(launch(128, step, machine).argv)[0]['node-rank'] == '0'


TASK_PER_GPU = dict(SLURM, SLURM_STEP_ID='0', SLURM_STEP_NUM_NODES='16', SLURM_STEP_NUM_TASKS='128')


@pytest.mark.parametrize(
    ('gpus', 'env', 'fragments'),
    [
        (
            128,
            TASK_PER_GPU,
            ['\n  srun --nodes=16 --ntasks-per-node=1 tools/dist_train.sh c.py 128'],
        ),
        (10, {}, ['NNODES=2 NODE_RANK=0', 'NNODES=2 NODE_RANK=1', '--gpus-per-node=5']),
        (
            128,
            dict(RENDEZVOUS, NNODES='8'),
            ['8 nodes would start 16 processes each', 'NNODES=16 NODE_RANK=0'],
        ),
        (
            128,
            dict(RENDEZVOUS, NNODES='6'),
            [
                'do not divide over 6 nodes',
                '\n  tools/dist_train.sh c.py 126\n  tools/dist_train.sh c.py 132',
            ],
        ),
        *(
            (
                128,
                {key: value for key, value in RENDEZVOUS.items() if key != missing},
                [f'also needs {missing};', 'NNODES=16 NODE_RANK=R MASTER_ADDR=node0'],
            )
            for missing in ('NODE_RANK', 'MASTER_ADDR')
        ),
        (128, dict(RENDEZVOUS, NODE_RANK='16'), ['0 to 15']),
        *((gpus, {}, [f'got {gpus!r}']) for gpus in ('0', '-1', 'two', '1.5')),
        (16, dict(ALLOW_OVERSUBSCRIBE='1'), ['has 8 GPUs']),
        (32, dict(NNODES='2:4'), ['RDZV_ENDPOINT=node0:29500']),
    ],
)
def test_errors(gpus, env, fragments):
    text = refusal(gpus, env)
    assert all(fragment in text for fragment in fragments), text


def test_more_than_a_node_prints_commands_that_work():
    """Each printed line, typed, starts its share."""
    lines = refusal(24, extra=['--amp']).splitlines()
    assert '24 processes cannot run here: this machine has 8 GPUs' in lines[0]
    command = 'tools/dist_train.sh c.py 24 --amp'
    printed = [line.split(' tools/') for line in lines if line.startswith('  NNODES=')]
    assert [f'tools/{rest}' for _, rest in printed] == [command] * 3
    given = [options(launch(24, words(env)).argv)[0] for env, _ in printed]
    assert [(g['node-rank'], g['nproc-per-node']) for g in given] == [(r, '8') for r in '012']
    assert f'  srun --nodes=3 --ntasks-per-node=1 --gpus-per-node=8 {command}' in lines
    assert lines[-1] == '  tools/dist_train.sh c.py 8 --amp --auto-scale-lr'
    assert '--auto-scale-lr' not in refusal(128, shell='tools/dist_test.sh')
    assert [r for r in range(128) if f'NODE_RANK={r} ' in refusal(1024)] == [0, 1, 127]


def test_without_gpus_each_core_takes_a_process():
    for gpus, env, threads in ((2, {}, '1'), (1, {}, '2'), (4, dict(ALLOW_OVERSUBSCRIBE='1'), '1')):
        done = launch(gpus, env, CPU2)
        assert options(done.argv)[0]['nproc-per-node'] == str(gpus)
        assert done.env == dict(OMP_NUM_THREADS=threads)
    assert launch(1, dict(OMP_NUM_THREADS='1'), CPU2).env == {}
    lines = refusal(4, machine=CPU2).splitlines()
    assert 'this machine has 2 cores and no GPU' in lines[0]
    assert '  tools/dist_train.sh c.py 2 --auto-scale-lr' in lines
    assert '  ALLOW_OVERSUBSCRIBE=1 tools/dist_train.sh c.py 4' in lines


def test_elastic():
    env = dict(NNODES='2:4', RDZV_ENDPOINT='node0:29500', RDZV_ID='r2o', MAX_RESTARTS='3')
    done = launch(32, env, extra=['--resume'])
    given, rest = options(done.argv)
    assert given == words(
        'nnodes=2:4 rdzv-backend=c10d rdzv-endpoint=node0:29500 rdzv-id=r2o nproc-per-node=8 '
        'max-restarts=3'
    )
    assert rest[-1] == '--resume'
    # Without it restarted processes wait for those that died.
    assert done.env['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] == '1'


def test_restarts_use_dynamic_rendezvous():
    """torchrun's static rendezvous keeps the addresses of dead processes."""
    more = dict(MAX_RESTARTS='3')
    done = launch(128, {**RENDEZVOUS, **more}, extra=['--resume'])
    assert options(done.argv)[0] == words(
        'nnodes=16 rdzv-backend=c10d rdzv-id=orl_mm rdzv-endpoint=10.0.0.1:29500 '
        'rdzv-conf=is_host=0 nproc-per-node=8 max-restarts=3'
    )
    first = launch(128, {**RENDEZVOUS, **more, 'NODE_RANK': '0'}, extra=['--resume'])
    assert '--rdzv-conf=is_host=1' in first.argv
    single = launch(8, more, extra=['--resume'])
    assert '--standalone' in single.argv
    port = launch(8, dict(more, PORT='29555'), extra=['--resume'])
    assert '--rdzv-endpoint=localhost:29555' in port.argv
    for found in (done, single, port):
        assert found.env['TORCH_DISABLE_SHARE_RDZV_TCP_STORE'] == '1'
    assert 'TORCH_DISABLE_SHARE_RDZV_TCP_STORE' not in launch(8).env


def test_restarts_need_resume():
    assert 'add --resume' in refusal(8, dict(MAX_RESTARTS='3'))
    for resume in (['--resume'], ['--resume=a.pth'], ['--resume', 'a.pth']):
        argv = launch(8, dict(MAX_RESTARTS='3'), extra=resume).argv
        assert '--max-restarts=3' in argv
    assert launch(8, dict(MAX_RESTARTS='3'), shell='tools/dist_test.sh')


@pytest.mark.parametrize(
    ('nodelist', 'host'),
    [
        ('gpu03', 'gpu03'),
        ('gpu[03-10,12],x1', 'gpu03'),
        ('a-1,a-2', 'a-1'),
        ('n[1,5]-ib', 'n1-ib'),
        ('rack2n[007]', 'rack2n007'),
    ],
)
def test_first_host_of_slurm(nodelist, host):
    assert first_host(nodelist) == host


@pytest.mark.parametrize(
    ('words', 'message'),
    [
        (f'{SHELL} train.py', 'CONFIG GPUS'),
        (f'{SHELL} train.py none.py 2', "config 'none.py' does not exist"),
        (f'tools/dist_test.sh test.py {__file__} none.pth 2', "checkpoint 'none.pth' does not"),
    ],
)
def test_wrong_command_ends_in_one_line(words, message, capsys):
    with pytest.raises(SystemExit) as stop:
        main(words.split())
    error = capsys.readouterr().err
    assert (stop.value.code, error.count('\n')) == (2, 1)
    assert message in error


WORKER = """
import os, pathlib, signal
import torch, torch.distributed as dist
dist.init_process_group('gloo')
total = torch.ones(1)
dist.all_reduce(total)
killed = pathlib.Path(__file__).with_name('killed')
if 'MAX_RESTARTS' in os.environ and os.environ['RANK'] == '1' and (
        not killed.exists()):
    killed.touch()
    os.kill(os.getpid(), signal.SIGKILL)
dist.all_reduce(total)
os.write(1, f'sum {total.item():.0f}\\n'.encode())
dist.destroy_process_group()
"""


def start(folder, name, gpus, **env):
    """Start the processes of one node, as dist_train.sh does."""
    script = folder / 'train.py'
    script.write_text(WORKER)
    machine = Machine(gpus=0, cores=2, host='localhost')
    done = plan(SHELL, str(script), ['c.py'], str(gpus), ['--resume'], env, machine)
    env = {**os.environ, **done.env, **env}
    with open(folder / f'{name}.txt', 'w') as log:
        return subprocess.Popen(done.argv, env=env, stdout=log, stderr=subprocess.STDOUT)


def sums(folder, name, node):
    """What the processes of a node printed when all was over."""
    try:
        code = node.wait(timeout=120)
    finally:
        node.terminate()
    text = (folder / f'{name}.txt').read_text()
    assert code == 0, text[-3000:]
    return [line for line in text.splitlines() if line.startswith('sum ')]


@pytest.mark.slow
@pytest.mark.parametrize('fixed_port', [False, True])
def test_killed_process_is_started_again(tmp_path, fixed_port):
    port = dict(PORT=str(get_free_port())) if fixed_port else {}
    node = start(tmp_path, 'node', 2, MAX_RESTARTS='1', **port)
    assert sums(tmp_path, 'node', node) == ['sum 4'] * 2
    assert (tmp_path / 'killed').exists()


@pytest.mark.slow
@pytest.mark.parametrize('env', [{}, dict(MAX_RESTARTS='1')])
def test_two_nodes_meet(tmp_path, env):
    """Two nodes of one process each, here on one machine."""
    env = dict(env, NNODES='2', MASTER_ADDR='127.0.0.1', PORT=str(get_free_port()))
    nodes = {rank: start(tmp_path, rank, 2, NODE_RANK=rank, **env) for rank in '01'}
    assert [sums(tmp_path, rank, node) for rank, node in nodes.items()] == [['sum 4']] * 2
    assert (tmp_path / 'killed').exists() is ('MAX_RESTARTS' in env)


def test_a_port_in_use_is_an_error_on_the_first_node():
    with socket.socket() as other:
        other.bind(('', 0))
        other.listen()
        port = f'--master-port={other.getsockname()[1]}'
        with pytest.raises(LaunchError, match=r'cannot be used.*in use.*\n.*MASTER_PORT=PORT a b'):
            check_port(['--node-rank=0', port], 'a b')
        check_port(['--node-rank=1', port], 'a b')
    check_port(['--node-rank=0', port], 'a b')
    check_port(['--standalone'], 'a b')
