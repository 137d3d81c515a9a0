"""EmoDC, the Emotion Diffusion Classifier (arXiv 2603.29578, of which the abstract is known).

A conditional diffusion model predicts the noise that was added to a face, once under the
description of each emotion; the emotion under which the noise is predicted best is the prediction.
`noise` holds the arithmetic of that rule, `encoder` and `decoder` the network that predicts the
noise, `classifier` what serves. The discrepancy training of the abstract, with its fixed and its
adaptive margin (AMDiT), is in `trainer.objectives.emodc.amdit`.
"""
