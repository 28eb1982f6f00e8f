"""Version 1 of the HTTP API, a file for each kind of thing."""
