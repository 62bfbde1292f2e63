"""Names that a database of another encoding cuts or folds in another way."""

import pytest

from appliance.sql.encodings import reads_alike


@pytest.mark.parametrize(
    ("text", "alike"),
    [
        ("SELECT email FROM customers", True),
        ("SELECT 'Müller " + "é" * 90 + "'", True),
        ("SELECT $$" + "é" * 90 + "$$, E'" + "é" * 90 + "' -- " + "é" * 90, True),
        ("SELECT straße FROM größen", True),
        ('SELECT "Straße" FROM "Größen"', True),
        ("SELECT Größe, " + "x" * 90, True),
        ("SELECT Öl FROM t", False),  # folded in single-byte encodings only
        ("SELECT " + "é" * 16 + ".email", False),
        ('SELECT "' + "é" * 40 + '".email', False),
        ("SELECT " + "x" * 62 + "é.email", False),
        ('SELECT "a""' + "é" * 16 + '".email', False),
        (r"""SELECT U&"\00e9".email""", False),
        (r"""SELECT u&"\00e9".email""", False),
    ],
)
def test_whether_every_encoding_finds_the_same_names(text: str, alike: bool) -> None:
    assert reads_alike(text.encode()) is alike
