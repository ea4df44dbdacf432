"""How the variational family regularises the generative model that a beta-VAE learns.

Modules are imported by name (``from grae_lib import data, training``); importing the package
itself loads nothing heavy. Units and shapes, throughout: x is (B, *shape) with values in [0, 1],
z is (B, d), distortion is summed over the entries of x and averaged over the batch, in nats, and
beta multiplies the KL divergence.
"""

__version__ = "0.1.0"
