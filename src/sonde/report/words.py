"""Numbers, times and other people's texts as a reader should see them: rounded to what is known, safe anywhere."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Mapping
from itertools import islice
from typing import TypeGuard

THIN = "\u202f"  # narrow no-break space, between a number and its unit

# What would change the reading direction or the meaning of the text around it, were it let through: bidi overrides.
_BIDI = re.compile("[\u202a-\u202e\u2066-\u2069]")
_LONE = re.compile("[\ud800-\udfff\ufdd0-\ufdef\ufffe\uffff]")  # no UTF-8 or not a character
_CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def shown(text: object, limit: int = 160) -> str:
    """Text that cannot act: controls become visible symbols; beyond `limit` characters it is cut, saying so.

    >>> shown("a\\x00b"), shown("x" * 1000, limit=3)
    ('a␀b', 'xxx… (1,000 characters)')
    """
    whole = str(text)
    part = whole if len(whole) <= limit else whole[:limit].rstrip()
    part = _LONE.sub("\ufffd", part)
    part = _BIDI.sub(lambda m: f"⟨U+{ord(m[0]):04X}⟩", part)
    part = _CONTROL.sub(lambda m: chr(0x2400 + ord(m[0])) if ord(m[0]) < 0x20 else "\u2421", part)
    part = _few_marks(part)
    return part if len(whole) <= limit else f"{part}… ({len(whole):,} characters)"


def _few_marks(text: str, most: int = 4) -> str:
    """At most `most` combining marks on one letter: a tower of them would cover the lines above and below."""
    if text.isascii():
        return text
    kept, run = [], 0
    for letter in text:
        run = run + 1 if unicodedata.combining(letter) else 0
        if run <= most:
            kept.append(letter)
    return "".join(kept)


def known(value: float | None) -> TypeGuard[float]:
    """Whether there is a number, and a finite one."""
    return value is not None and math.isfinite(value)


def number(value: float | int | None, places: int | None = None) -> str:
    """A number with `places` decimals; without `places`, to four significant digits.

    >>> number(1234567), number(0.012345), number(float("nan")), number(None), number(54.26, 1)
    ('1,234,567', '0.01235', 'NaN', '—', '54.3')
    """
    if value is None:
        return "—"
    if isinstance(value, int):
        return f"{value:,}".replace("-", "−") if abs(value) < 10**15 else f"about 10^{len(str(abs(value))) - 1}"
    if not math.isfinite(value):
        return "NaN" if math.isnan(value) else ("∞" if value > 0 else "−∞")
    if places is not None and abs(value) < 1e15:
        text = f"{value:,.{places}f}"
        text = text.lstrip("-") if float(text.replace(",", "")) == 0 else text
    elif value == 0:
        text = "0"
    elif 1e-4 <= abs(value) < 1e6:
        text = f"{value:,.{max(0, 3 - math.floor(math.log10(abs(value))))}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        text = f"{value:.3g}"
    return text.replace("-", "−")


def power(value: float) -> str:
    """A small probability: 1e-05 as 1e-5.

    >>> power(1e-5), power(0.001)
    ('1e-5', '0.001')
    """
    return f"{value:g}".replace("e-0", "e-")


def places_for(interval: tuple[float, float] | None, most: int = 6) -> int | None:
    """Decimals worth printing: two significant digits of the interval's half width. None where there is no interval.

    >>> places_for((49.8, 58.9)), places_for((0.020, 0.070)), places_for(None)
    (1, 3, None)
    """
    if interval is None:
        return None
    half = abs(interval[1] - interval[0]) / 2
    if not math.isfinite(half) or half == 0:
        return None
    return min(most, max(0, 1 - math.floor(math.log10(half))))


def share(value: float | None, places: int = 1) -> str:
    """A share in [0, 1] as per cent.

    >>> share(0.98889)
    '98.9\\u202f%'
    """
    if value is None or not math.isfinite(value):
        return number(value)
    return f"{number(100 * value, places)}{THIN}%"


def percent_places(interval: tuple[float, float] | None) -> int:
    """Decimals of a per cent: one, or two where half the interval is below one per cent."""
    places = places_for((100 * interval[0], 100 * interval[1])) if interval else None
    return min(2, max(1, places or 1))


def measured(value: float, unit: str = "1", percent: bool = False, interval: tuple[float, float] | None = None) -> str:
    """A measured number with as many decimals as its interval gives meaning, and its unit; `percent`: value is a share.

    >>> measured(0.98889, percent=True, interval=(0.972, 0.9957)), measured(54.26, "mmHg", interval=(49.8, 58.9))
    ('98.9\u202f%', '54.3\u202fmmHg')
    """
    if percent:
        return share(value, percent_places(interval))
    return number(float(value), places_for(interval)) + (f"{THIN}{shown(unit, 24)}" if unit not in ("", "1") else "")


def ends(interval: tuple[float, float] | None, percent: bool = False) -> str:
    """An interval in words, rounded like the value it belongs to; empty where there is none.

    >>> ends((0.972, 0.9957), percent=True)
    '97.2 to 99.6'
    """
    if interval is None:
        return ""
    places, scale = (percent_places(interval), 100) if percent else (places_for(interval), 1)
    low, high = (number(float(v) * scale, places) for v in interval)
    return f"{low} to {high}"


def sure(confidence: float) -> str:
    """A model's confidence: whole per cent, and never "100 %" for what is less.

    >>> sure(0.612), sure(0.9996)
    ('61\u202f%', '> 99.9\u202f%')
    """
    if 0.995 <= confidence < 1:
        return f"> 99.9{THIN}%" if confidence > 0.999 else share(confidence, 1)
    return share(confidence, 0)


def seconds(value: float | None) -> str:
    """A duration as a person says it.

    >>> seconds(0.0123), seconds(38.24), seconds(252), seconds(7500)
    ('0.012 s', '38.2 s', '4 min 12 s', '2 h 05 min')
    """
    if value is None or not math.isfinite(value) or value < 0:
        return number(value)
    if value < 59.95:
        return f"{value:.1f} s" if value >= 1 else f"{value:.2g} s" if value >= 1e-4 else "0 s"
    whole = round(value)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600:,} h {whole % 3600 // 60:02d} min"


def raw(value: object, depth: int = 3) -> str:
    """A value of a table or a setting as it stands there: a year has no thousands separator; floats to six digits.

    >>> raw(2024), raw(0.1 + 0.2), raw([1, 2]), raw(None), raw(True)
    ('2024', '0.3', '1, 2', 'none', 'true')
    """
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.6g}" if math.isfinite(value) else number(value)
    if isinstance(value, int):
        return str(value) if abs(value) < 10**15 else number(value)
    if isinstance(value, list | tuple | Mapping) and depth == 0:
        return "…"
    if isinstance(value, list | tuple):
        texts = [f"[{raw(v, depth - 1)}]" if isinstance(v, list | tuple) else raw(v, depth - 1) for v in value[:24]]
        return ", ".join(texts + ["…"] * (len(value) > 24)) or "none"
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {raw(item, depth - 1)}" for key, item in islice(value.items(), 24)) or "none"
    return str(value)
