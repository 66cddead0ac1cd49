"""The one problem of a report of `check_layout`."""


def only_problem(report):
    (found,) = report.problems
    assert not report.ok
    assert '\n' not in found
    return found
