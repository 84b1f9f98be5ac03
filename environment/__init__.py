"""The virtual environment of the checkout: its lock, its set-up, and wheels for older systems.

Standard library only, as the set-up runs before any package is there.
"""
