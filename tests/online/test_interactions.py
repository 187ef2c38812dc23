"""Laws of the reader: a row is read exactly, or the file is refused by name, line and column."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from online.interactions import Interactions, InteractionsMalformed, parse_time_ms, read_interactions

ROOT = Path(__file__).resolve().parent.parent.parent


def written(folder: Path, text: str, name: str = "shop.csv") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def decoded(interactions: Interactions) -> list[tuple[str, str, int]]:
    users, items = interactions.user_ids, interactions.item_ids
    columns = zip(interactions.user, interactions.item, interactions.at_ms, strict=True)
    return [(users[u], items[i], int(t)) for u, i, t in columns]


def test_rows_come_sorted_by_time_and_equal_times_keep_the_order_of_the_file(tmp_path: Path) -> None:
    path = written(tmp_path, "user_id,item_id,timestamp\nb,x,200\na,z,100\na,y,100\nc,w,50\n")
    assert decoded(read_interactions(path)) == [
        ("c", "w", 50_000),
        ("a", "z", 100_000),
        ("a", "y", 100_000),
        ("b", "x", 200_000),
    ]


def test_until_is_exclusive_and_what_comes_later_leaves_no_trace(tmp_path: Path) -> None:
    path = written(tmp_path, "user_id,item_id,timestamp\na,x,100\nb,y,200\nc,z,300\n")
    read = read_interactions(path, until_ms=200_000)
    assert decoded(read) == [("a", "x", 100_000)]
    assert (read.user_ids, read.item_ids) == (["a"], ["x"])


@pytest.mark.parametrize(
    ("stamp", "expected"),
    [
        ("1507507200", 1507507200000),
        ("1507507200.5", 1507507200500),
        ("1507507200123", 1507507200123),
        ("2017-10-09T00:00:00Z", 1507507200000),
        ("2017-10-09T02:00:00.250+02:00", 1507507200250),
        ("2017-10-09T00:00:00", 1507507200000),
        ("2017-10-09", 1507507200000),
    ],
)
def test_seconds_milliseconds_and_rfc_3339_name_the_same_moment(tmp_path: Path, stamp: str, expected: int) -> None:
    path = written(tmp_path, f"user_id,item_id,timestamp\na,x,{stamp}\n")
    assert read_interactions(path).at_ms.tolist() == [expected]
    assert parse_time_ms(stamp) == expected


def test_optional_columns_are_decoded_and_unknown_columns_are_left_alone(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        "user_id,item_id,timestamp,event_type,value,session_id,context_device,shoe_size\n"
        "a,x,1,play,0.5,s1,tv,44\n"
        "b,y,2,like,,,3,45\n",
    )
    read = read_interactions(path)
    assert [read.event_types[c] for c in read.event_type] == ["play", "like"]
    assert read.value[0] == 0.5 and np.isnan(read.value[1])
    assert read.session is not None and [read.session_ids[c] for c in read.session] == ["s1", ""]
    assert [read.context_values["context_device"][c] for c in read.context["context_device"]] == ["tv", "3"]
    assert set(read.context) == {"context_device"}


def test_csv_and_parquet_of_the_same_rows_read_alike(tmp_path: Path) -> None:
    table = pa.table({"user_id": [7, 7, 8], "item_id": [1, 2, 1], "timestamp": [30, 20, 10], "value": [1.0, None, 3.0]})
    pa_parquet.write_table(table, tmp_path / "shop.parquet")
    path = written(tmp_path, "user_id,item_id,timestamp,value\n7,1,30,1.0\n7,2,20,\n8,1,10,3.0\n")
    one, other = read_interactions(tmp_path / "shop.parquet"), read_interactions(path)
    assert decoded(one) == decoded(other)
    np.testing.assert_array_equal(one.value, other.value)


def test_sequences_of_the_literature_are_read_with_the_position_as_time(tmp_path: Path) -> None:
    path = written(tmp_path, "1 10 11 12\n2 11 10\n", "sequences.txt")
    assert decoded(read_interactions(path)) == [
        ("1", "10", 0),
        ("2", "11", 0),
        ("1", "11", 1000),
        ("2", "10", 1000),
        ("1", "12", 2000),
    ]


@pytest.mark.parametrize(
    ("text", "line", "column"),
    [
        ("user_id,timestamp\na,1\n", 1, "item_id"),
        ("user_id,item_id,timestamp\n", 1, "user_id"),
        ("user_id,item_id,timestamp\na,x,1\n\nb,,2\n", 4, "item_id"),
        ("user_id,item_id,timestamp\na,x,1\nb,y,soon\n", 3, "timestamp"),
        ("user_id,item_id,timestamp\na,x,2017-10-09\nb,y,2017-13-09\n", 3, "timestamp"),
        ("user_id,item_id,timestamp\na,x,1507507200\nb,y,1507507200000\nc,z,1507507200\n", 3, "timestamp"),
        ("user_id,item_id,timestamp\na,x,nan\n", 2, "timestamp"),
        ("user_id,item_id,timestamp,value\na,x,1,1\nb,y,2,much\n", 3, "value"),
        ("user_id,item_id,timestamp,value\na,x,1,1\nb,y,2,inf\n", 3, "value"),
        ("user_id,item_id,timestamp\na,x,1\nb,y\nc,z,3\n", 3, "timestamp"),
        ("user_id,item_id,timestamp\na,x,1\n" + "b" * 10_000 + ",y,2\n", 3, "user_id"),
        ("user_id,item_id,user_id,timestamp\na,x,a,1\n", 1, "user_id"),
    ],
)
def test_a_malformed_file_is_refused_by_name_line_and_column(tmp_path: Path, text: str, line: int, column: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(InteractionsMalformed) as refused:
        read_interactions(path)
    assert (refused.value.path, refused.value.line, refused.value.column) == (path, line, column)
    assert str(path) in str(refused.value) and refused.value.cure


def test_bytes_that_are_not_utf_8_are_refused_by_line(tmp_path: Path) -> None:
    path = tmp_path / "shop.csv"
    path.write_bytes(b"user_id,item_id,timestamp\na,x,1\n\xff\xfe,y,2\n")
    with pytest.raises(InteractionsMalformed) as refused:
        read_interactions(path)
    assert refused.value.line == 3


def test_a_process_that_ends_on_a_broken_file_ends_with_its_own_code(tmp_path: Path) -> None:
    # A replay once ended with SIGABRT here; a handler for broken rows, held by a thread of Arrow's, was suspected.
    path = written(tmp_path, "user_id,item_id,timestamp\n" + "a,x,1\nb,y\n" * 1_000)
    program = (
        "import sys; from pathlib import Path\n"
        "from online.interactions import InteractionsMalformed, read_interactions\n"
        "try: read_interactions(Path(sys.argv[1]))\n"
        "except InteractionsMalformed as refused: sys.exit(refused.line)"
    )
    for _ in range(3):
        done = subprocess.run([sys.executable, "-c", program, path], cwd=ROOT, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (3, b"")


def test_a_file_that_is_not_parquet_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "user_id,item_id\n", "shop.parquet")
    with pytest.raises(InteractionsMalformed, match="not a Parquet file"):
        read_interactions(path)


ids = st.text(st.characters(codec="utf-8", exclude_characters="\x00\r\n", exclude_categories=("Cs",)), min_size=1)


@settings(max_examples=30, deadline=None)
@given(rows=st.lists(st.tuples(ids, ids, st.integers(0, 10**9)), min_size=1, max_size=20))
def test_any_ids_survive_the_way_through_parquet(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    path = tmp_path_factory.mktemp("ids") / "shop.parquet"
    rows = [(u[:80], i[:80], t) for u, i, t in rows]
    columns = {
        "user_id": [r[0] for r in rows],
        "item_id": [r[1] for r in rows],
        "timestamp": [r[2] for r in rows],
    }
    pa_parquet.write_table(pa.table(columns), path)
    expected = sorted(((u, i, t * 1000) for u, i, t in rows), key=lambda row: row[2])
    assert decoded(read_interactions(path)) == expected
