"""Sonde: any model, any objective and any set of training methods in one loop, measured before it is trusted."""

__version__ = "0.1.0"
