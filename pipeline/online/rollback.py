"""Taking the newest version back. Needs neither TFX nor TensorFlow, so that it takes a second."""

from __future__ import annotations

from pipeline.online import series
from pipeline.online.state import OnlineFolder, OnlineState, write_state
from pipeline.online.versions import follow_state


def rolled_back(folder: OnlineFolder, state: OnlineState) -> OnlineState:
    """Withdraws the newest version and returns the new state.

    The version before it is served again, by label and without, as soon as a server looks. Learning
    goes on from that version's checkpoint: what only the withdrawn model learnt is forgotten, and
    the spans since are not learnt a second time.

    Raises:
        RuntimeError: There is no version to go back to.
    """
    if len(state.versions) < 2:
        raise RuntimeError(
            f"{folder.serving_dir}: there is no version before the newest one to go back to"
        )
    withdrawn = state.versions[-1]
    new = state.rolled_back()
    write_state(folder.state_file, new)
    follow_state(folder, new)
    series.append(
        folder.rollbacks_file,
        {
            "withdrawn": withdrawn.number,
            "served": new.versions[-1].number,
            "sequence": state.newest.sequence,
            "span": state.newest.span,
        },
    )
    return new
