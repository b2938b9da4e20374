"""Review: how the steps of several models are named that do the same, so that no two models share a name."""


def quoted(label: str) -> str:
    """A model, or its label, as it can stand in a name."""
    return label.replace("%", "%25").replace("/", "%2F")


def unquoted(label: str) -> str:
    """The model, or its label, as it stands in the name of its step."""
    return label.replace("%2F", "/").replace("%25", "%")
