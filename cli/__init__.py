"""The `easq` command: parsing, progress and exit codes. Each room is imported only when its command
runs.
"""
