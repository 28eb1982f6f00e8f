"""Many nodes that share a Redis: who lives, who holds which user, and what nodes say to each other.

    incarnation.py  which node this is; another one after every start, and after it was taken for dead
    leases.py       one key a node says that it lives; who clears up after a node that does not
    registry.py     which users are on this node, told to all in batches; where a user is
    whereabouts.py  what this node remembers of where users are, true as long as it hears of changes
    post.py         messages between nodes
    presence.py     presence of users and channels over all nodes
    readership.py   who reads channels, over all nodes
    remote.py       ending sessions wherever they are
    cluster.py      all of it, for one node

What is in Redis is in chatd/redis/lua, one script for each change.
"""

from typing import NewType

NodeId = NewType("NodeId", str)
"""One incarnation of a node: its name, a dot, and chance. Never used twice."""

PARTS = 16
"""Users and channels are spread over so many of the deployment's shards, or all if it has fewer.

Few, so that what a turn brings goes to Redis in few commands; more than a deployment has servers.
"""
