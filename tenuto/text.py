"""Text made storable: its size, cleaned of what no database takes, cut to a limit."""


def size(text: str) -> int:
    """Count the bytes that `text` takes when it is stored."""
    return len(text) if text.isascii() else len(text.encode("utf-8", "backslashreplace"))


def clean(text: str) -> str:
    """Make any text storable: NUL becomes `\\x00`, a lone surrogate `\\udc80`, to be seen. Never raises."""
    text = str.__str__(text)  # the text of an exception can be of a subclass with a mind of its own
    return text.replace("\0", "\\x00").encode("utf-8", "backslashreplace").decode()


def clip(text: str, limit_bytes: int) -> str:
    """Cut the middle out of a text over `limit_bytes`, and say there how much is gone.

    Head and tail keep equal shares and whole characters. A limit too small for the note keeps the head only.
    """
    if size(text) <= limit_bytes:
        return text
    stored = text.encode("utf-8", "backslashreplace")
    half = (limit_bytes - len(_note(len(stored)))) // 2
    if half <= 0:
        return stored[: max(limit_bytes, 0)].decode("utf-8", "ignore")
    head, tail = (part.decode("utf-8", "ignore") for part in (stored[:half], stored[-half:]))
    return head + _note(len(stored) - size(head) - size(tail)) + tail


def _note(cut: int) -> str:
    return f" ... [{cut:,} bytes cut] ... "
