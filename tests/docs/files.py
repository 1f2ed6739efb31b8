"""The files that the examples of the documentation speak of, small and made here."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image


def photos(folder: Path, classes: tuple[str, ...] = ("cracked", "whole"), each: int = 40) -> None:
    """A folder per class of 24 x 24 pictures: a bright disc, which a dark line crosses in the first class."""
    random = np.random.default_rng(0)
    rows, columns = np.mgrid[:24, :24]
    for label, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for i in range(each):
            centre = 12 + random.uniform(-2, 2, size=2)
            disc = (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < random.uniform(6, 9) ** 2
            picture = 60 + 120 * disc + random.normal(0, 12, size=(24, 24))
            if label == 0:
                picture[np.abs(rows - columns - random.integers(-3, 4)) < 2] -= 110
            Image.fromarray(picture.clip(0, 255).astype(np.uint8)).save(folder / name / f"{i:03}.png")


def people(path: Path, rows: int = 400) -> None:
    """A table of made-up people; whether their income is high depends on age, hours and education."""
    random = np.random.default_rng(1)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["age", "hours", "education", "sex", "race", "income"])
        for _ in range(rows):
            age, hours = int(random.integers(18, 70)), int(random.integers(10, 60))
            education = random.choice(["school", "college", "doctorate"])
            sex, race = random.choice(["female", "male"]), random.choice(["black", "other", "white"])
            score = age / 20 + hours / 20 + 2 * (education == "doctorate") + random.normal(0, 0.5)
            writer.writerow(
                [age, "" if random.random() < 0.03 else hours, education, sex, race, "high" if score > 4.5 else "low"]
            )


def houses(path: Path, rows: int = 300) -> None:
    """A table of made-up houses: area in square metres, rooms, town, and a price in thousands."""
    random = np.random.default_rng(2)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["area", "rooms", "town", "price"])
        for _ in range(rows):
            area, rooms, town = random.uniform(30, 200), int(random.integers(1, 8)), random.choice(["hill", "shore"])
            price = 2.5 * area + 12 * rooms + 80 * (town == "shore") + random.normal(0, 15)
            writer.writerow([f"{area:.1f}", rooms, town, f"{price:.0f}"])


def broken(path: Path) -> None:
    """A CSV of 40 rows, whose fifth line has a field too many."""
    lines = [f"{i},{i * i % 7},{'even' if i % 2 == 0 else 'odd'}" for i in range(40)]
    lines[3] = "3,2,9,odd"
    path.write_text("\n".join(["a,b,label", *lines]) + "\n", encoding="utf-8")


def write_all(folder: Path) -> None:
    """Everything that a page may name, into an empty folder."""
    photos(folder / "photos")
    photos(folder / "new-photos", each=3)
    people(folder / "people.csv")
    people(folder / "new-people.csv", rows=20)
    houses(folder / "houses.csv")
    broken(folder / "broken.csv")
