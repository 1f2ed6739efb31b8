"""Training that holds when inputs are moved a little, on purpose or by chance."""

from .fgsm import FGSM
from .gaussian_noise import GaussianNoise
from .pgd import PGD
from .trades import TRADES

__all__ = ["FGSM", "PGD", "TRADES", "GaussianNoise"]
