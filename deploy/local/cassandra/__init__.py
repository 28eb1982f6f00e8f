"""A real Apache Cassandra on loopback, for tests and for trying: one node, or three with all rows on each.

It is the released server, fetched as jars by Maven, with a small heap and without its shell scripts. Nothing of chatd
is used here, and chatd uses nothing of this. `python -m deploy.local.cassandra --help` has the commands.
"""
