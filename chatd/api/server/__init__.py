"""`/v1/server`: the server API, for backends with an API key and people with a role. A file for each kind of thing."""
