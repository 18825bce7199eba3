"""Cloister: machine learning on machines that their user does not trust.

`cloister.inference.Client` asks a protected model; everything else is reached through the
command line, `cloister --help`.
"""

__version__ = "0.1.0"
__all__ = ["__version__"]
