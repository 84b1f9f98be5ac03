"""The right to erasure: takes users out of logs and out of everything that was made of them.

`log_files` rewrites tables, `run_files` what runs keep of examples, `store_files` what online
learning keeps of earlier spans, `seen_by` finds the models that learnt from the users, and `users`
does all of it. Every file is replaced in one step, so that a command that was killed is run again.
"""
