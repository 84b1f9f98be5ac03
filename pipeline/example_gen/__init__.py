"""ExampleGen: from the tables of a log to one `tf.Example` a slate.

`slates` (joins, rules, slates, pair groups) is columnar code on Arrow tables without Beam and
TFX, `beam_pipeline` spreads it over shards of users, `component` is the TFX component.
"""
