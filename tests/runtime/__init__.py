"""The loops of a node, each by itself."""
