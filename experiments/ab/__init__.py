"""Closed-loop A/B tests: two rankers serve the people of one simulated world.

`settings` (what is compared, in which world), `split` (who is in which arm), `ranking` (a slate's
order from a model server), `traffic` (world ↔ arms ↔ logs), `arms` (server and online training of
an arm), `learner` (that training in a process of its own), `tallies` and `lifts` (what people did,
and which differences are more than luck), `run` (the days of one test), `report`.
"""
