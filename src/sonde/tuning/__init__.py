"""What chooses settings: a learning-rate range test, and a search that is judged on the validation rows."""

from sonde.core.errors import SondeError


class Misasked(SondeError):
    """A range, space or metric that cannot be followed; nothing was trained."""

    code = 2
