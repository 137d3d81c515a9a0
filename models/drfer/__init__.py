"""DR-FER: discriminative and robust representations (Li et al. 2024, IEEE TMM 26:6297-6309).

Of the paper its abstract and a poster are known. Here are the network, with its local and its
global branch, and the decoder of masked images, which trains it and is no part of what serves. How
it learns from noisy labels is in `trainer.objectives.drfer`.
"""
