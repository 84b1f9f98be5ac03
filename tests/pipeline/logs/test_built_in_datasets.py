"""The datasets that come with the pipeline read the logs they are for."""

import gzip
from collections import Counter
from pathlib import Path

import pyarrow as pa
import pytest

from pipeline.logs.dataset_config import load_dataset_config
from pipeline.logs.duplicates import later_copies
from pipeline.logs.readers import find_tables, read_features, read_impressions
from pipeline.logs.requests import rebuild_requests
from simulator.config import SimulatorConfig
from simulator.logs import write_logs
from tests.pipeline.logs.tiny_logs import read_all

LOG = (
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,"
    "is_hate,long_view,play_time_ms,duration_ms,profile_stay_time,comment_stay_time,"
    "is_profile_enter,is_rand,tab\n"
)
USERS = (
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,"
    "follow_user_num,follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,"
    "friend_user_num_range,register_days,register_days_range,"
    + ",".join(f"onehot_feat{n}" for n in range(18))
    + "\n"
)
ITEMS = (
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,"
    "server_width,server_height,music_id,music_type,tag\n"
)


def published_kuairand(folder: Path) -> Path:
    """A few rows in the files and columns that KuaiRand-Pure is published in."""

    def log(name: str, *rows: str) -> None:
        data = (LOG + "".join(f"{row}\n" for row in rows)).encode()
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)

    liked = "7,100,20220420,1000,1650420000000,1,1,0,0,0,0,1,9000,8000,0,0,0,0,1"
    log("log_standard_4_08_to_4_21_pure.csv", liked, liked)  # published twice
    log(
        "log_standard_4_22_to_5_08_pure.csv.gz",
        "7,101,20220425,1000,1650852000000,1,0,0,0,0,1,0,500,8000,0,0,0,0,1",  # hated
        "7,102,20220425,1000,1650852060000,0,0,0,0,0,0,0,0,0,0,0,0,0,4",
        "7,102,20220425,1100,1650852060000,0,0,0,0,0,0,0,0,0,0,0,0,0,4",  # another hour only
        "8,100,20220425,2300,1650898800000,1,1,0,0,0,1,1,9000,8000,0,0,0,0,1",  # both
        "8,101,20220425,2300,1650898800000,0,1,0,0,0,0,1,9000,8000,0,0,0,0,1",  # not clicked
        "8,102,20220426,0,1650902400000,1,0,1,0,0,0,1,9000,8000,0,0,1,0,1",
    )
    log("log_standard_4_09_to_4_24_head.csv.gz", liked)  # an extract: not to be read
    log("log_random_4_22_to_5_08_pure.csv", liked)
    (folder / "user_features_pure.csv").write_text(
        USERS
        + '7,full_active,0,1,1,514,500+,150,"[100,1k)",34,"[30,60)",799,730+'
        + ",1,1,29,949,,0,0,14,135,6,3,0,,,,,,\n"
    )
    (folder / "video_features_basic_pure.csv").write_text(
        ITEMS
        + "100,7349781,NORMAL,2022-04-10,LongImport,0.0,87433.0,720.0,1280.0,9155697141,9.0,39\n"
        + "101,7349781,AD,2022-04-10,LongImport,0.0,,720.0,1280.0,9155697141,,\n"
    )
    (folder / "video_features_statistic_pure.csv").write_text("video_id,counts\n100,1\n")
    return folder


EXTRACT = Path(__file__).parents[4] / "shared" / "data" / "kuairand_pure"
PLACES = ["published"] + (["extract"] if EXTRACT.is_dir() else [])
# Of the extract: 5,460 exact copies and 417 that differ in the hour alone; 3 rows with a like and
# a hate; 3,180 likes and 80 hates on clicked rows, 2 of the likes twice.
EXPECTED = {
    "published": {
        "read": 8,
        "rejected": {"satisfied_and_dissatisfied": 1},
        "copies": 2,
        "answers": {2: 1, 0: 1, -1: 3},
        "slates": 4,
        "users": 1,
        "items": 2,
        "missing": {"tag": 1, "music_type": 1},
    },
    "extract": {
        "read": 228_329,
        "rejected": {"satisfied_and_dissatisfied": 3},
        "copies": 5_877,
        "answers": {2: 3_178, 0: 80, -1: 219_191},
        "slates": 120_547,
        "users": 27_285,
        "items": 7_583,
        "missing": {"tag": 96, "music_type": 203},
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_kuairand(place: str, tmp_path: Path) -> None:
    data_dir = published_kuairand(tmp_path) if place == "published" else EXTRACT
    config = load_dataset_config("kuairand")
    tables = find_tables(config, data_dir)
    batches = [b for part in tables["impressions"] for b in read_impressions(config, part)]
    rows = pa.Table.from_batches([batch.rows for batch in batches])
    letters = pa.Table.from_batches([batch.rejected for batch in batches])
    copies = later_copies(rows)
    kept = rows.filter(pa.array(~copies)).sort_by(
        [(name, "ascending") for name in ("user_id", "time_ms", "_file", "_row")]
    )
    requests = rebuild_requests(
        kept["user_id"],
        kept["time_ms"].to_numpy(),
        config.slate.rebuild,
        config.slate.max_candidates,
    )
    users = read_features(config, tables["users"])
    items = read_features(config, tables["items"])
    assert {
        "read": rows.num_rows + letters.num_rows,
        "rejected": Counter(letters["reason"].to_pylist()),
        "copies": int(copies.sum()),
        "answers": Counter(kept["answer"].to_pylist()),
        "slates": len(set(requests.to_pylist())),
        "users": users.rows.num_rows,
        "items": items.rows.num_rows,
        "missing": users.missing | items.missing,
    } == EXPECTED[place]
    assert [batch.missing for batch in batches if batch.missing] == []


def test_no_feature_of_kuairand_knows_the_answer_of_its_row() -> None:
    config = load_dataset_config("kuairand")
    read = {feature.column for feature in config.features} | set(config.behaviours.columns)
    assert not read & {"is_like", "is_hate"}
    paths = [
        path
        for table in ("impressions", "users", "items")
        for path in getattr(config.tables, table).path
    ]
    assert not [path for path in paths if "statistic" in path or "random" in path]


def test_simulated_logs_are_read_without_loss(tmp_path: Path) -> None:
    world = SimulatorConfig(users=50, items=300, requests=400, days=2)
    counts = write_logs(world, tmp_path)
    config = load_dataset_config("simulated")
    find_tables(config, tmp_path)
    for table in ("impressions", "questionnaires", "users", "items"):
        rows, letters, missing = read_all(config, table, tmp_path)
        assert (len(rows), letters, missing) == (counts[table], [], {})
