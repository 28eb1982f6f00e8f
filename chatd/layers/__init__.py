"""The parts of a node, made layer upon layer; `chatd/node.py` puts the layers together.

Each layer is a function that makes some parts out of those below it, and a small dataclass that holds what it made. A
part that must know of one above it is told by the function that makes that one.
"""
