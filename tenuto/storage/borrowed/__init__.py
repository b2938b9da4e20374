"""Borrowed: connections that callers lend, on which verbs run inside their transactions. No driver is imported here."""
