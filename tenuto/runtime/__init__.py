"""Runtime: the loops of a running node. It calls the store's verbs; it writes no SQL and never decides what an
outcome means."""
