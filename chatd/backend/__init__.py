"""What backends and the people who run a deployment may do, without HTTP: each operation is checked against rights.

HTTP (chatd/api/server/) and server sessions (chatd/backend/handlers.py) call the same operations. Refusals are raised
as `Denied`, a store that fails as `StoreError`.
"""
