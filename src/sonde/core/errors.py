"""What a user's mistake is answered with: one line of cause, one line of remedy."""

from __future__ import annotations


class SondeError(Exception):
    """A failure the user can mend: `cause` names the file, row or option; `remedy` says what to do.

    >>> print(SondeError("photos/cat.png is truncated after 512 bytes", "delete it, or pass --on-bad skip"))
    photos/cat.png is truncated after 512 bytes
      delete it, or pass --on-bad skip
    """

    code = 1  # the process's exit code when this reaches the command line

    def __init__(self, cause: str, remedy: str) -> None:
        super().__init__(cause, remedy)
        self.cause, self.remedy = cause, remedy

    def __str__(self) -> str:
        return f"{self.cause}\n  {self.remedy}"


class Notice(UserWarning):
    """Something was changed on the user's behalf, and is right: to be known, not to be mended."""


class Refused(SondeError):
    """Refused for safety: doing it could run code, leave a folder or break a promise."""

    code = 4
