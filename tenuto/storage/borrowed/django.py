"""Django: the driver's connection below `django.db.connection`, in this thread and in whatever `atomic` it is."""

from typing import Any


def below(given: Any) -> Any:
    """The driver's connection. Raises what Django does: in async code, in another thread, in a broken `atomic`."""
    given.validate_thread_sharing()
    if given.in_atomic_block:
        given.validate_no_broken_transaction()
    given.ensure_connection()
    return given.connection
