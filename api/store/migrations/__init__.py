"""The migrations, one file each under `versions/`; `api.store.migrate` runs them.

A migration is never changed after a release. `SAFE = True` says that it only adds: it may run at start without a backup.
"""
