"""Hooks: a backend is asked before a session connects, subscribes or sends, and may allow, deny or change it."""
