"""The guided tour's statements: what is sent, why it is worth seeing, and what each must see.

Read by `tour`. Every step has a demand for each of alice, bob and copilot; `stored` asks the
database itself for comparison and is off for whatever must not run there.
"""

from dataclasses import dataclass

from appliance.cli.demo.acts import copy_out, prepared_binary, query, transcript
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


def _step(title: str, point: str, sql: str, masks: Check, act: Act | None = None) -> Step:
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
BINARY = (
    "SELECT id, date_of_birth, balance FROM customers WHERE id = %s",
    "SELECT id, date_of_birth, balance FROM customers WHERE id = $1   -- binary, for 1, 2 and 3",
)


TRANSCRIPT = rows(
    [
        (tag,)
        for tag in ("BEGIN", "UPDATE 1", "SAVEPOINT", REFUSED, "ROLLBACK", "UPDATE 1", "COMMIT")
    ]
)


STEPS: tuple[Step, ...] = (
    _step(
        "A plain query",
        "Who asks decides what comes back; the database sees the same statement.",
        "SELECT email, ssn FROM customers ORDER BY id LIMIT 3",
        masked(email=EMAIL, ssn=LAST_FOUR),
    ),
    _step(
        "Another name for it",
        "Masks follow the column, not the name it is given.",
        "SELECT c.email AS favourite_colour FROM customers AS c WHERE c.id = 7",
        masked(favourite_colour=EMAIL),
    ),
    _step(
        "Through a view, a CTE and a subquery",
        "The view calls it `mail`; three layers down it is customers.email.",
        "WITH german AS (SELECT * FROM customer_contacts WHERE country = 'DE')\n"
        "SELECT t.id, t.mail FROM (SELECT id, mail FROM german) t ORDER BY t.id LIMIT 3",
        masked(mail=EMAIL),
    ),
    _step(
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
    _step(
        "A function on a masked column",
        "What is computed from a secret is computed from its mask, by the database itself.",
        "SELECT id, upper(email) FROM customers WHERE id = 1",
        masked(upper=EMAIL.upper()),
    ),
    _step(
        "Guessing with WHERE",
        "A filter sees the mask too: no question tells one bit of what is behind it.",
        "SELECT count(*) FROM customers WHERE ssn LIKE '9%'",
        masked(count="0"),
    ),
    _step(
        "A prepared statement, in binary",
        "A masked date is still a date and a masked number a number, byte for byte.",
        BINARY[1],
        masked(date_of_birth=NEW_YEAR, balance=THOUSANDS),
        prepared_binary(BINARY[0], 1, 2, 3),
    ),
    _step(
        "COPY of what is masked",
        "The bulk road is watched as well.",
        "COPY customers (id, email) TO STDOUT",
        masked(email=EMAIL),
        copy_out("COPY customers (id, email) TO STDOUT", "id email"),
    ),
    _step(
        "COPY of what is not",
        "Nothing is owed here, so it flows.",
        "COPY (SELECT id, status, total FROM orders WHERE placed_on = '2025-03-01') TO STDOUT",
        as_stored,
        copy_out(
            "COPY (SELECT id, status, total FROM orders WHERE placed_on = '2025-03-01') TO STDOUT",
            "id status total",
        ),
    ),
    _blocked(
        "DROP TABLE",
        "bob owns the table, and PostgreSQL would do it. Not in production.",
        "DROP TABLE customers CASCADE",
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
        "SELECT pg_read_file('/etc/passwd')",
        refused(rule="no-way-out"),
    ),
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
        "Session, savepoint and transaction state stay PostgreSQL's own.",
        ";\n".join(TRANSACTION),
        transcript(*TRANSACTION),
        TRANSCRIPT,
        TRANSCRIPT,
        TRANSCRIPT,
        stored=False,
    ),
)
