"""Writes two CSV files as a service might have them: what was shown, and what people said.

python3 docs/examples/own_logs.py my_logs
"""

import csv
import random
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

# How often people are glad of a genre, and how long they watch it: pranks hold, and disappoint.
GENRES = {"cooking": (0.7, 0.5), "pranks": (0.2, 0.8), "music": (0.5, 0.5), "science": (0.8, 0.4)}
PLAYS = ["session", "member", "clip", "genre", "played_at", "watched", "length", "liked", "shared"]
SURVEY = ["session", "member", "clip", "asked_at", "answered_at", "stars"]


def write(folder: Path, sessions: int = 12_000) -> None:
    """Six clips a session; a tenth of those watched for 7 s are asked about, and all answer."""
    rng = random.Random(1)
    clips = {f"c{n}": (rng.choice(list(GENRES)), rng.uniform(8, 60)) for n in range(400)}
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "plays.csv").open("w") as plays, (folder / "survey.csv").open("w") as survey:
        shown, said = csv.writer(plays), csv.writer(survey)
        shown.writerow(PLAYS)
        said.writerow(SURVEY)
        for session in range(sessions):
            at = datetime(2026, 10, 1, tzinfo=UTC) + timedelta(minutes=2 * session)
            member = f"m{rng.randrange(300)}"
            for clip in rng.sample(list(clips), 6):
                genre, length = clips[clip]
                gladness, hold = GENRES[genre]
                glad, share = rng.random() < gladness, min(rng.expovariate(0.8 / hold), 1)
                watched, ids = round(length * share, 1), [f"s{session}", member, clip]
                liked, shared = rng.random() < 0.05 + 0.2 * share, rng.random() < 0.05
                shown.writerow(
                    [*ids, genre, at.isoformat(), watched, round(length, 1), +liked, +shared]
                )
                if watched >= 7 and rng.random() < 0.1:
                    asked, stars = at + timedelta(minutes=1), rng.choice([4, 5] if glad else [1, 2])
                    answered = asked + timedelta(minutes=9)
                    said.writerow([*ids, asked.isoformat(), answered.isoformat(), stars])


if __name__ == "__main__":
    write(Path(sys.argv[1]))
