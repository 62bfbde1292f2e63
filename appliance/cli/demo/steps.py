"""The guided tour's statements: what is sent, why it is worth seeing, and what each must see.

Read by `tour` through the samples, which give the words that databases differ in. Every step has a
demand for each of alice, bob and copilot; `stored` asks the database itself for comparison and is
off for whatever must not run there.
"""

from dataclasses import dataclass

from appliance.cli.demo.acts import prepared, query, transcript
from appliance.cli.demo.seen import REFUSED, Act, Check, as_stored, masked, refused, rows

EMAIL = r"[a-z0-9]\*\*\*@\*\*\*\.com"
LAST_FOUR = r"\*+.*[0-9]{4}"
NEW_YEAR = r"\d{4}-01-01"
THOUSANDS = r"-?\d*000(\.00)?|0(\.00)?"
TEN_THOUSANDS = r"\d+0000"
PSEUDONYM = r"[A-Za-z0-9+/=_:-]{8,}"


@dataclass(frozen=True)
class Step:
    title: str
    point: str
    sql: str
    act: Act
    alice: Check
    bob: Check
    copilot: Check
    stored: bool = True

    def demand(self, name: str) -> Check:
        checks = {"alice": self.alice, "bob": self.bob, "copilot": self.copilot}
        return checks[name]


def masked_step(title: str, point: str, sql: str, masks: Check, act: Act | None = None) -> Step:
    """A step in which alice and copilot get `masks` and bob what is stored."""
    return Step(title, point, sql, act or query(sql), masks, as_stored, masks)


def _blocked(title: str, point: str, sql: str, check: Check, act: Act | None = None) -> Step:
    """A step that is refused for everybody and therefore never sent to the database itself."""
    return Step(title, point, sql, act or query(sql), check, check, check, stored=False)


TICKET = (
    "INSERT INTO support_tickets (customer_id, opened_by, subject)\n"
    "VALUES (7, 'tour', 'parcel') RETURNING subject, status"
)
TRANSACTION = (
    "BEGIN",
    "UPDATE support_tickets SET status = 'checked' WHERE id = 1",
    "SAVEPOINT before_it",
    "DELETE FROM support_tickets",
    "ROLLBACK TO before_it",
    "UPDATE support_tickets SET status = 'open' WHERE id = 1",
    "COMMIT",
)


@dataclass(frozen=True)
class Words:
    """What databases say differently."""

    product: str
    prepared: str
    """With the placeholder of its driver, and as people write it."""
    prepared_shown: str
    in_bulk: tuple[Step, Step]
    """Much at once: of what is masked, and of what is not."""
    way_out: str
    tags: tuple[str, str, str, str, str]
    """Of BEGIN, an UPDATE of one row, SAVEPOINT, ROLLBACK TO, COMMIT."""

    @property
    def transcript(self) -> Check:
        """What TRANSACTION comes to."""
        begun, updated, saved, rolled_back, committed = self.tags
        outcomes = (begun, updated, saved, REFUSED, rolled_back, updated, committed)
        return rows([(outcome,) for outcome in outcomes])


def steps(words: Words) -> tuple[Step, ...]:
    """The tour's, in the words of one kind of database."""
    return (*_READING, _prepared(words), *words.in_bulk, *_blocked_ones(words), *_working(words))


_READING: tuple[Step, ...] = (
    masked_step(
        "A plain query",
        "Who asks decides what comes back; the database sees the same statement.",
        "SELECT email, ssn FROM customers ORDER BY id LIMIT 3",
        masked(email=EMAIL, ssn=LAST_FOUR),
    ),
    masked_step(
        "Another name for it",
        "Masks follow the column, not the name it is given.",
        "SELECT c.email AS favourite_colour FROM customers AS c WHERE c.id = 7",
        masked(favourite_colour=EMAIL),
    ),
    masked_step(
        "Through a view, a CTE and a subquery",
        "The view calls it `mail`; three layers down it is customers.email.",
        "WITH german AS (SELECT * FROM customer_contacts WHERE country = 'DE')\n"
        "SELECT t.id, t.mail FROM (SELECT id, mail FROM german) t ORDER BY t.id LIMIT 3",
        masked(mail=EMAIL),
    ),
    masked_step(
        "Through a join",
        "Cards keep their last four digits, and a NULL stays a NULL.",
        "SELECT p.id, p.card_number FROM payments p JOIN customers c ON c.id = p.customer_id\n"
        "WHERE c.id = 9 ORDER BY p.id LIMIT 3",
        masked(card_number=LAST_FOUR),
    ),
    Step(
        "Other rights, other masks",
        "Salaries are rounded for an analyst; an agent does not see staff at all.",
        "SELECT salary, bank_account FROM employees WHERE id = 4",
        query("SELECT salary, bank_account FROM employees WHERE id = 4"),
        masked(salary=TEN_THOUSANDS, bank_account=PSEUDONYM),
        as_stored,
        refused(rule="agents-know-no-staff"),
    ),
    masked_step(
        "A function on a masked column",
        "What is computed from a secret is computed from its mask, by the database itself.",
        "SELECT id, upper(email) AS upper FROM customers WHERE id = 1",
        masked(upper=EMAIL.upper()),
    ),
    masked_step(
        "Guessing with WHERE",
        "A filter sees the mask too: no question tells one bit of what is behind it.",
        "SELECT count(*) AS count FROM customers WHERE ssn LIKE '9%'",
        masked(count="0"),
    ),
)


def _prepared(words: Words) -> Step:
    return masked_step(
        "A prepared statement, in binary",
        "A masked date is still a date and a masked number a number, byte for byte.",
        f"{words.prepared_shown}   -- binary, for 1, 2 and 3",
        masked(date_of_birth=NEW_YEAR, balance=THOUSANDS),
        prepared(words.prepared, 1, 2, 3),
    )


def _blocked_ones(words: Words) -> tuple[Step, ...]:
    return (
        _blocked(
            "DROP TABLE",
            f"bob owns the table, and {words.product} would do it. Not in production.",
            "DROP TABLE payments",
            refused(rule="no-drop-in-production"),
        ),
        _blocked(
            "A second statement in tow",
            "Every statement of a text is decided; none runs when one is refused.",
            "SELECT 1; DELETE FROM orders WHERE 1 = 1",
            refused(rule="no-whole-table-writes"),
        ),
        _blocked(
            "DELETE without WHERE",
            "The message says what to do instead.",
            "DELETE FROM orders",
            refused(rule="no-whole-table-writes"),
        ),
        _blocked(
            "A way out of the database",
            "What reads the server's files, or runs SQL from a string, is refused by name.",
            words.way_out,
            refused(rule="no-way-out"),
        ),
    )


def _working(words: Words) -> tuple[Step, ...]:
    return (
        Step(
            "A write that is allowed",
            "Work goes on as usual.",
            TICKET,
            query(TICKET),
            rows([("parcel", "open")]),
            rows([("parcel", "open")]),
            rows([("parcel", "open")]),
            stored=False,
        ),
        Step(
            "A refusal inside a transaction",
            f"Session, savepoint and transaction state stay {words.product}'s own.",
            ";\n".join(TRANSACTION),
            transcript(*TRANSACTION),
            words.transcript,
            words.transcript,
            words.transcript,
            stored=False,
        ),
    )
