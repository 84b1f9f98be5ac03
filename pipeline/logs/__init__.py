"""The log contract: what the tables are, how a dataset describes its own, and their readers.

Nothing here needs TFX, Beam or TensorFlow.
"""
