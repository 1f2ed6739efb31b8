"""For the site: a docstring's first line is a paragraph, the rest stands as it was written.

Docstrings of the package are plain text whose line breaks and columns mean something (names of parameters, shapes,
examples with their output), which Markdown would run together.
"""

from __future__ import annotations

import inspect
from typing import Any

from griffe import Extension, Object


class PlainDocstrings(Extension):
    """Fence everything but the first paragraph of every docstring."""

    def on_object(self, *, obj: Object, **context: Any) -> None:
        """Rewrite one object's docstring, before it is rendered."""
        if obj.docstring:
            head, _, rest = inspect.cleandoc(obj.docstring.value).partition("\n\n")
            language = "pycon" if rest.lstrip().startswith(">>>") else "text"
            obj.docstring.value = f"{head}\n\n```{language}\n{rest}\n```" if rest else head
