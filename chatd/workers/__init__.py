"""Several nodes on one machine behind one port: `chatd serve --workers N`.

    supervisor.py  starts workers, starts them again when they end, replaces them one by one
    slot.py        one place for a worker: its sockets, its process, how often it failed
    tie.py         what makes a worker end with its supervisor
    gathering.py   /metrics of all workers of the machine together

A worker is a node like any other: it has a lease of its own, and speaks to the others through Redis only.
"""
