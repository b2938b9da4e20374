"""Draw: a workflow, stored or not, as a picture: Mermaid, DOT (Graphviz) or SVG.

It formats and nothing else: what it is given is read already, and what it gives is text.
"""

from tenuto.draw.boxes import Box, Drawable, boxes
from tenuto.draw.svg import svg
from tenuto.draw.texts import dot, mermaid

__all__ = ["Box", "Drawable", "boxes", "dot", "mermaid", "svg"]
