"""The search for the settings of a model, inside the training period."""
