# All of Montgomery, whose masks are of the lungs alone: there is no score of the heart.
_base_ = './jsrt.py'

test_dataloader = dict(
    dataset=dict(
        data_root='{{$ORL_CXR:data}}/montgomery', list_file=None, parts=('left_lung', 'right_lung')
    )
)
test_evaluator = dict(prefix='montgomery')
