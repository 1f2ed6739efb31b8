"""Training that treats groups alike. Groups are codes in a field of the batch: the data's sensitive columns."""

from .group_constraint import GroupConstraint
from .reweighing import Reweighing

__all__ = ["GroupConstraint", "Reweighing"]
