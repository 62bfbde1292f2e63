"""What is known of a session's temporary tables."""

from appliance.sql.mysql.temporaries import TEMPORARIES_MAX, Temporaries, columns_of, question

NAME = ("shop", "t")
MADE = "CREATE TEMPORARY TABLE `t` (\n  `id` int(11) DEFAULT NULL,\n  `v` int INVISIBLE\n)"


def known(kept: Temporaries) -> list[tuple[str, str]]:
    return [(own.schema, own.name) for own in kept.known]


def made(policy: str = "1") -> Temporaries:
    kept = Temporaries()
    kept.shift(frozenset({NAME}), policy)
    kept.under(policy)
    return kept


def test_a_name_is_unknown_until_the_server_was_asked() -> None:
    kept = made()
    assert kept.unknown == {"shop.t"} and not kept.known
    assert kept.doubted_in(b"SELECT * FROM `T`") == NAME and kept.doubted_in(b"DO 1") is None
    kept.told(NAME, [["t", MADE]], None)
    assert known(kept) == [NAME] and not kept.unknown
    assert [(c.name, c.invisible) for c in kept.known[0].columns] == [("id", False), ("v", True)]


def test_whatever_may_change_it_makes_it_unknown_again() -> None:
    kept = made()
    kept.told(NAME, [["t", MADE]], None)
    kept.shift(frozenset(), "1")
    assert not kept.known and kept.unknown == {"shop.t"}


def test_what_is_no_temporary_table() -> None:
    for rows, error in ([["t", MADE.replace("TEMPORARY ", "")]], None), ([], 1146), ([], 1142):
        kept = made()
        kept.told(NAME, rows, error)
        assert not kept.any and not kept.unknown


def test_another_error_tells_nothing() -> None:
    kept = made()
    for error in (1317, 1205, 2013):
        kept.told(NAME, [], error)
        assert kept.unknown == {"shop.t"}


def test_one_that_is_not_understood_stays_unknown() -> None:
    kept = made()
    kept.told(NAME, [["t", "CREATE TEMPORARY TABLE `t` ENGINE=SEQUENCE"]], None)
    assert kept.unknown == {"shop.t"} and not kept.known


def test_other_masks_make_all_unknown_for_good() -> None:
    kept = made()
    kept.told(NAME, [["t", MADE]], None)
    assert kept.under("2") and kept.unknown == {"shop.t"}
    kept.under("1")
    assert kept.doubted_in(b"SELECT * FROM t") is None and kept.unknown == {"shop.t"}


def test_no_masks_for_a_while_are_other_masks() -> None:
    kept = made()
    kept.told(NAME, [["t", MADE]], None)
    kept.under("")
    kept.under("1")
    assert kept.unknown == {"shop.t"} and not kept.known


def test_one_made_without_masks_is_unknown() -> None:
    kept = made("")
    assert kept.unknown == {"shop.t"} and kept.doubted_in(b"t") is None


def test_there_are_not_too_many() -> None:
    kept = Temporaries()
    kept.shift(frozenset(("shop", f"t{n}") for n in range(TEMPORARIES_MAX + 1)), "1")
    assert len(kept.unknown) == TEMPORARIES_MAX + 1 and not kept.any


def test_names_are_quoted() -> None:
    assert question(("a`b", "c.d")) == b"SHOW CREATE TABLE `a``b`.`c.d`"


def test_columns_are_told_from_all_else() -> None:
    text = (
        "CREATE TEMPORARY TABLE `t` (\n  `a,b` enum('x)','y') DEFAULT 'x)',\n"
        "  `c` int GENERATED ALWAYS AS (coalesce(`a,b`, 1)) VIRTUAL COMMENT 'INVISIBLE',\n"
        "  PRIMARY KEY (`c`),\n  UNIQUE KEY `k` (`c`, `a,b`),\n  CONSTRAINT `z` CHECK (`c` > 0)\n)"
    )
    assert [(c.name, c.invisible) for c in columns_of(text)] == [("a,b", False), ("c", False)]
