"""What the process does of which all submissions are copies: load PyTorch and the library once."""

from . import worker

worker.warm()
