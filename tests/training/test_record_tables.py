from tbscreen_training.record_tables import tables_of

INTERVAL = {"value": 0.5, "low": 0.4, "high": 0.6}


def test_plain_values_records_and_records_of_records_each_have_their_table() -> None:
    facts, lines, kinds = tables_of(
        {
            "protocol": "as it was",
            "missed_ones": {"n": 3, "share": INTERVAL},
            "refused_by_kind": {"photo": {"n": 4, "share": INTERVAL}, "hand": {"n": 5}},
            "milliseconds": 0.2,
        }
    )
    assert facts.rows == (("protocol", "as it was"), ("milliseconds", 0.2))
    assert lines.columns == ("", "n", "share")
    assert lines.rows == (("missed ones", 3, INTERVAL),)
    assert kinds.title == "refused by kind"
    assert kinds.rows == (("photo", 4, INTERVAL), ("hand", 5, None))


def test_a_list_of_records_is_numbered() -> None:
    (table,) = tables_of({"folds": [{"n": 1}, {"n": 2}]})
    assert table.rows == (("1", 1), ("2", 2))


def test_an_empty_record_has_no_table() -> None:
    assert tables_of({}) == []
    assert tables_of({"by_source": {}}) == []
