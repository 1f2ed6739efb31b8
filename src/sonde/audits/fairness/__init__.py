"""How differently groups of people are decided about: rates, calibration, flipped columns, what gives groups away."""

from .calibration import GroupCalibration
from .flip import FlipTest
from .groups import GroupFairness
from .intersections import Intersections
from .proxies import Proxies

__all__ = ["FlipTest", "GroupCalibration", "GroupFairness", "Intersections", "Proxies"]
