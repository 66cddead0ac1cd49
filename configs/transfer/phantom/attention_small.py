# Attention AP on phantoms held out from configs/medino/demo.py (drawn chests, not X-rays).
#
# Paper:    chapter 3 of the thesis, the score of table 3.1.
# Command:  tools/test.py configs/transfer/phantom/attention_small.py CHECKPOINT
# Expected: no published number; phantoms do not predict results on X-rays.
_base_ = '../jsrt/attention_small.py'

test_dataloader = dict(
    dataset=dict(data_root='work_dirs/phantom', list_file='work_dirs/phantom/splits/score.txt')
)
test_evaluator = dict(prefix='phantom')
