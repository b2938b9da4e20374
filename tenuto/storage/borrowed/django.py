"""Django: the driver's connection below `django.db.connection`, in this thread and in whatever `atomic` it is."""

from typing import Any

from tenuto.errors import UnusableConnection


def below(given: Any) -> Any:
    """The driver's connection. Raises what Django does: in async code, in another thread, in a broken `atomic`; and
    UnusableConnection for what is none."""
    if not hasattr(given, "validate_thread_sharing"):
        raise UnusableConnection(f"django's {type(given).__name__} is no connection; lend `django.db.connection`")
    given.validate_thread_sharing()
    if given.in_atomic_block:
        given.validate_no_broken_transaction()
    given.ensure_connection()
    return given.connection
