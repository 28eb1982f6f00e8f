"""Webhooks: what happened, told to backends over HTTP in order, signed, batched, and again until they took it."""
