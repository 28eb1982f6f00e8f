"""The chatd server: tasks, sockets and policy around the wire protocol."""

__version__ = "0.4.2"
