"""SQLAlchemy: the driver's connection below a Session, a Connection, and their async kin, its transaction begun."""

from inspect import iscoroutinefunction
from typing import Any, Final

from tenuto.errors import UnusableConnection

BEGIN: Final = "select 1"  # it begins its transactions only with its own first statement


def is_async(given: Any) -> bool:
    """Whether it is an AsyncSession or an AsyncConnection."""
    name = "exec_driver_sql" if hasattr(given, "exec_driver_sql") else "connection"
    return iscoroutinefunction(getattr(given, name, None))


def below(given: Any) -> Any:
    """The driver's connection under a Session or a Connection. Raises UnusableConnection for an async one, and for
    what is neither: an engine, a sessionmaker."""
    if is_async(given):
        raise UnusableConnection("it is for async code, and this is none; lend a plain one, or await the async verb")
    is_connection = hasattr(given, "exec_driver_sql")
    if not is_connection and not callable(getattr(given, "connection", None)):
        told = f"sqlalchemy's {type(given).__name__} is no connection"
        raise UnusableConnection(f"{told}; lend a Session or a Connection, in which your transaction is")
    connection = given if is_connection else given.connection()
    connection.exec_driver_sql(BEGIN).close()
    return connection.connection.driver_connection


async def below_async(given: Any) -> Any:
    """The driver's connection under an AsyncSession or an AsyncConnection."""
    connection = given if hasattr(given, "exec_driver_sql") else await given.connection()
    await connection.exec_driver_sql(BEGIN)
    return (await connection.get_raw_connection()).driver_connection
