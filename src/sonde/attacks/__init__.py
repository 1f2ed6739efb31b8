"""Attacks on the inputs of a trained model: what training hardens against and audits measure with."""

from .apgd import apgd, apgd_t
from .ascent import ascend
from .ball import Ball, Norm, Range
from .carlini_wagner import carlini_wagner
from .deepfool import deepfool
from .fab import fab, fab_t
from .fgsm import fgsm
from .hopskipjump import hopskipjump
from .patch import Placing, adversarial_patch
from .pgd import pgd
from .square import square
from .standard import check_inside, standing, suite

__all__ = [
    "Ball",
    "Norm",
    "Placing",
    "Range",
    "adversarial_patch",
    "apgd",
    "apgd_t",
    "ascend",
    "carlini_wagner",
    "check_inside",
    "deepfool",
    "fab",
    "fab_t",
    "fgsm",
    "hopskipjump",
    "pgd",
    "square",
    "standing",
    "suite",
]
