"""HTTP requests that the node makes to where others say: webhooks, hooks, pushes. They do not reach inside."""
