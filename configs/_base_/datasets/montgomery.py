# All images of Montgomery. It has masks of the lungs only, so there is no score for the heart.
_base_ = './jsrt.py'

test_dataloader = dict(
    dataset=dict(
        data_root='{{$ORL_CXR:data}}/montgomery', list_file=None, parts=('left_lung', 'right_lung')
    )
)
test_evaluator = dict(prefix='montgomery')
