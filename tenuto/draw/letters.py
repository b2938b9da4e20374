"""Letters: how much room a text takes where each letter is as wide as the next, and where it is cut."""

from typing import Final
from unicodedata import combining, east_asian_width

CELL: Final = 7.0  # the width of a letter


def cells(text: str) -> int:
    """How many letters wide it is; one of the East is two."""
    return sum(map(_cell, text))


def cut(text: str, most: int) -> str:
    """The text in so many cells; of one that is too long its beginning and its end, which tell names apart."""
    if cells(text) <= most:
        return text
    head, tail, room = "", "", max(most, 3) - 1
    for char in text:
        if cells(head + char) > (room + 1) // 2:
            break
        head += char
    for char in reversed(text):
        if cells(char + tail) > room - cells(head):
            break
        tail = char + tail
    return f"{head}…{tail}"


def _cell(char: str) -> int:
    return 0 if combining(char) else 2 if east_asian_width(char) in "WF" else 1
