"""Measure kairos against code written by hand for the same job, and against what else does it.

``python -m benchmarks`` runs everything; ``--help`` lists the options. In every round of a job all
contenders have a turn, one right after the other, in one process and on one server. What is reported is
the median, over the rounds, of the ratio of two times of one round; so a machine that is busy for a while
slows both.
"""
