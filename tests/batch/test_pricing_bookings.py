"""A booking log is read exactly, or refused by name, line and column, with a cure."""

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pa_parquet
import pytest

from batch.pricing.bookings import BookingsMalformed, read_bookings

HEAD = "flight_id,market,departs_at,asked_at,fare_cents,booked,seats_left,capacity,feature_stay,note\n"
ROWS = (
    "F2,AMS-JFK,2026-03-01T10:00:00Z,2026-02-01T10:00:00Z,19900,1,50,50,1,x\n"
    "F1,AMS-BCN,1772359200,1769853600,9900,0,20,50,,y\n"
    "F1,AMS-BCN,1772359200000,1769940000000,,0,0,50,0.5,z\n"
)


def written(tmp_path, text, name="bookings.csv"):
    path = tmp_path / name
    path.write_text(text)
    return path


def test_rows_come_in_the_order_of_time_with_numbers_and_gaps(tmp_path):
    bookings = read_bookings(written(tmp_path, HEAD + ROWS))
    assert bookings.flight_ids == ["F1", "F2"] and bookings.market_ids == ["AMS-BCN", "AMS-JFK"]
    assert bookings.flight.tolist() == [0, 1, 0]  # equal times keep the order of the file
    assert bookings.asked_ms.tolist() == [1_769_853_600_000, 1_769_940_000_000, 1_769_940_000_000]
    assert bookings.departs_ms.tolist()[:2] == [1_772_359_200_000] * 2
    np.testing.assert_array_equal(bookings.fare_cents, [9_900.0, 19_900.0, np.nan])
    np.testing.assert_array_equal(bookings.features, [[np.nan], [1.0], [0.5]])
    assert bookings.feature_names == ["stay"]
    assert bookings.quoted.tolist() == [True, True, False]
    assert bookings.days[0] == pytest.approx(29.0)


def test_parquet_says_the_same_as_csv(tmp_path):
    csv = read_bookings(written(tmp_path, HEAD + ROWS))
    table = pa.table(
        {
            "flight_id": ["F2", "F1", "F1"],
            "market": ["AMS-JFK", "AMS-BCN", "AMS-BCN"],
            "departs_at": pa.array([1_772_359_200_000] * 3, pa.timestamp("ms", tz="UTC")),
            "asked_at": pa.array([1_769_940_000_000, 1_769_853_600_000, 1_769_940_000_000], pa.timestamp("ms")),
            "fare_cents": pa.array([19_900, 9_900, None], pa.int64()),
            "booked": [1, 0, 0],
            "seats_left": [50, 20, 0],
            "capacity": [50, 50, 50],
            "feature_stay": pa.array([1.0, None, 0.5]),
        }
    )
    pa_parquet.write_table(table, tmp_path / "b.parquet")
    found = read_bookings(tmp_path / "b.parquet")
    for name in ("flight", "market", "asked_ms", "fare_cents", "booked", "seats_left", "features"):
        np.testing.assert_array_equal(getattr(found, name), getattr(csv, name), err_msg=name)


@pytest.mark.parametrize("text", ["", "\n", HEAD])
def test_an_empty_file_is_a_past_without_rows(tmp_path, text):
    assert len(read_bookings(written(tmp_path, text))) == 0


def test_what_is_not_before_a_time_is_left_out(tmp_path):
    assert len(read_bookings(written(tmp_path, HEAD + ROWS), until_ms=1_769_940_000_000)) == 1


@pytest.mark.parametrize(
    ("row", "column", "problem"),
    [
        ("F1,M,2026-03-01,2026-03-02,9900,0,20,50,,", "asked_at", "asked after departure"),
        ("F1,M,2026-03-01,yesterday,9900,0,20,50,,", "asked_at", "not a time"),
        ("F1,M,2026-03-01,2026-02-01,-5,0,20,50,,", "fare_cents", "not a positive fare"),
        ("F1,M,2026-03-01,2026-02-01,cheap,0,20,50,,", "fare_cents", "not a number"),
        ("F1,M,2026-03-01,2026-02-01,9900,2,20,50,,", "booked", "neither 0 nor 1"),
        ("F1,M,2026-03-01,2026-02-01,,1,20,50,,", "fare_cents", "booked without a fare"),
        ("F1,M,2026-03-01,2026-02-01,9900,0,60,50,,", "seats_left", "more seats than the capacity"),
        ("F1,M,2026-03-01,2026-02-01,9900,0,1.5,50,,", "seats_left", "not a whole number"),
        ("F1,,2026-03-01,2026-02-01,9900,0,20,50,,", "market", "a value is missing"),
        ("F1,M,2026-03-01,2026-02-01,9900,0,20,50,1e999,", "feature_stay", "not a finite number"),
        ("F1,M,2026-03-01,2026-02-01,9900,0,20", "feature_stay", "7 fields, 10 expected"),
    ],
)
def test_what_cannot_be_read_is_named_by_line_and_column(tmp_path, row, column, problem):
    path = written(tmp_path, HEAD + ROWS + row + "\n")
    with pytest.raises(BookingsMalformed, match=problem) as error:
        read_bookings(path)
    assert error.value.line == 5 and "\n" not in str(error.value) and error.value.cure
    assert error.value.column == column or problem.startswith("7 fields")


def test_a_missing_column_is_named_with_what_was_found(tmp_path):
    with pytest.raises(BookingsMalformed, match="seats_left") as error:
        read_bookings(written(tmp_path, "flight_id,market\nF1,M\n"))
    assert "flight_id, market" in str(error.value) or error.value.column == "departs_at"


def test_a_file_that_is_not_there_is_said(tmp_path):
    with pytest.raises(FileNotFoundError, match="no such file of bookings"):
        read_bookings(tmp_path / "none.csv")
