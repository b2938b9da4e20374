"""The shop: one Django app, which is the whole project."""
