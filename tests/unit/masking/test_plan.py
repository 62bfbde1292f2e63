"""The plan before the row: what is masked, and what a principal who owes masks can not do."""

import msgspec
import pytest

from appliance.masking.plan import BEYOND_MASKING, UNRESTRICTED, MaskPlan, plan
from appliance.model.catalog import ColumnKey, Function
from appliance.model.decision import Decision, Effect, Mask, MaskMethod, Trust
from appliance.model.errors import Refused
from appliance.model.facts import (
    Action,
    Confidence,
    Flag,
    FunctionUse,
    OutputColumn,
    ParseFailure,
    PreparedUse,
    StatementFacts,
)
from appliance.model.refusal import Refusal
from tests.unit.policy.building import (
    CATALOG,
    CONTACTS,
    CUSTOMER_ID,
    CUSTOMERS,
    EMAIL,
    EMPLOYEES,
    MAIL,
    NAME,
    ORDERS,
    PHONE,
    SALARY,
    FakeLineage,
    facts,
    plain,
    statement,
    use,
)

REDACT = Mask(MaskMethod.REDACT, rule="mask-contact")
TOKEN = Mask(MaskMethod.TOKEN, rule="mask-view")
OWED = {EMAIL: REDACT, PHONE: REDACT}
OWING = Decision(Effect.ALLOW, (), owes_masks=True)
FREE = Decision(Effect.ALLOW, ())
LINEAGE = FakeLineage()


def planned(subject: StatementFacts, owed: dict[ColumnKey, Mask] | None = None) -> MaskPlan:
    return plan(facts(subject), 0, OWING, OWED if owed is None else owed, LINEAGE)


def refused(subject: StatementFacts, owed: dict[ColumnKey, Mask] | None = None) -> Refusal:
    with pytest.raises(Refused) as caught:
        planned(subject, owed)
    return caught.value.refusal


def reading(*outputs: OutputColumn, consumed: tuple[ColumnKey, ...] = ()) -> StatementFacts:
    return statement(
        relations=[use(Action.SELECT, CUSTOMERS, "*")], outputs=outputs, consumed=consumed
    )


def test_who_owes_nothing_is_not_restricted() -> None:
    opaque = statement(Action.DO, confidence=Confidence.OPAQUE)
    assert plan(facts(opaque), 0, FREE, {}, None) is UNRESTRICTED


def test_plain_columns_are_masked_and_others_are_not() -> None:
    found = planned(reading(plain(CUSTOMER_ID, "id"), plain(EMAIL, "e"), OutputColumn("one")))
    assert [column.mask for column in found.columns] == [None, REDACT, None]
    assert [column.origin for column in found.columns] == [CUSTOMER_ID, EMAIL, None]
    assert found.masks_any and not found.unrestricted and found.columns_known
    assert found.touches == (EMAIL, PHONE)


def test_a_view_shows_its_base_columns_mask() -> None:
    view = statement(
        relations=[use(Action.SELECT, CONTACTS, "mail")], outputs=[plain(MAIL, "mail", EMAIL)]
    )
    found = planned(view)
    assert found.columns[0].mask == REDACT and found.columns[0].origin == MAIL
    assert found.touches == (EMAIL,)


class TestViewColumns:
    """A mask that is named on a view's column."""

    OWED = {MAIL: TOKEN}  # noqa: RUF012

    def test_it_is_masked_by_its_origin(self) -> None:
        view = statement(
            relations=[use(Action.SELECT, CONTACTS, "mail")], outputs=[plain(MAIL, "m", EMAIL)]
        )
        assert planned(view, self.OWED).columns[0].mask == TOKEN

    def test_it_can_not_be_used(self) -> None:
        view = statement(relations=[use(Action.SELECT, CONTACTS, "mail")], consumed=[EMAIL])
        told = refused(view, self.OWED)
        assert (told.code.value, told.rule) == ("masked_column_used", "mask-view")

    def test_it_does_not_concern_its_neighbours(self) -> None:
        view = statement(
            relations=[use(Action.SELECT, CONTACTS, "id")],
            outputs=[plain((CONTACTS, 1), "id", CUSTOMER_ID)],
        )
        assert planned(view, self.OWED).columns[0].mask is None

    def test_one_of_unknown_making_is_refused(self) -> None:
        """Its use could not be seen: facts speak of base columns only."""
        view = statement(relations=[use(Action.SELECT, CONTACTS, "mail")])
        with pytest.raises(Refused):
            plan(facts(view), 0, OWING, self.OWED, FakeLineage(views={}))


@pytest.mark.parametrize(
    "subject",
    [
        reading(plain(NAME), consumed=(EMAIL,)),
        reading(OutputColumn("x", sources=(EMAIL,))),
        reading(OutputColumn("x", sources=(NAME, EMAIL))),
        reading(OutputColumn("x", origin=CUSTOMER_ID, sources=(NAME, EMAIL), plain=True)),
        # Unchanged, but the server will not say where it comes from: the wire can not tell it.
        reading(OutputColumn("x", sources=(EMAIL,), plain=True)),
    ],
)
def test_a_masked_column_used_otherwise_is_refused(subject: StatementFacts) -> None:
    told = refused(subject)
    assert told.code.value == "masked_column_used"
    assert told.message.startswith("public.customers.email is masked for you, and here it ")
    assert told.rule == "mask-contact" and "by itself" in told.remedy


@pytest.mark.parametrize("type_text", ["real", "double precision"])
def test_a_float_is_cut_before_its_text_is_rounded(type_text: str) -> None:
    """`SET extra_float_digits = -14` writes 4962449.5 as 5e+06."""
    cut = {SALARY: Mask(MaskMethod.TRUNCATE_NUMBER, step=1_000_000)}
    subject = statement(
        relations=[use(Action.SELECT, EMPLOYEES, "salary")], outputs=[plain(SALARY)]
    )
    assert planned(subject, cut).masks_any
    lineage = FakeLineage()
    employees = CATALOG.relations[EMPLOYEES]
    columns = tuple(msgspec.structs.replace(c, type_text=type_text) for c in employees.columns)
    relation = msgspec.structs.replace(employees, columns=columns)
    lineage.catalog = msgspec.structs.replace(
        CATALOG, relations={**CATALOG.relations, EMPLOYEES: relation}
    )
    with pytest.raises(Refused) as caught:
        plan(facts(subject), 0, OWING, cut, lineage)
    assert "rounded" in caught.value.refusal.message


def test_unmasked_columns_may_be_used_freely() -> None:
    found = planned(reading(OutputColumn("x", sources=(NAME,)), consumed=(NAME, CUSTOMER_ID)))
    assert not found.masks_any


@pytest.mark.parametrize("action", [action for action in Action if action in BEYOND_MASKING])
def test_actions_that_masking_does_not_see(action: Action) -> None:
    told = refused(statement(action))
    assert told.rule == "guard.beyond-masking" and action.value in told.message


def test_unknown_functions() -> None:
    told = refused(statement(Action.SELECT, functions=["public.leak", "hr.f"]))
    assert told.code.value == "unknown_function" and "public.leak, hr.f" in told.message
    assert refused(statement(Action.EXECUTE_FUNCTION)).code.value == "unknown_function"


@pytest.mark.parametrize(
    ("use", "code", "state", "words"),
    [
        (FunctionUse("", "nofunc"), "unresolved", "42883", "function nofunc does not exist"),
        (FunctionUse("hr", "nofunc"), "unresolved", "42883", "function hr.nofunc does not exist"),
        (FunctionUse("", "elsewhere"), "unknown_function", "42501", "what elsewhere does"),
        (
            FunctionUse("pg_catalog", "pg_sleep"),
            "unknown_function",
            "42501",
            "pg_sleep: a built-in",
        ),
        (FunctionUse("", "pg_sleep"), "unknown_function", "42501", "pg_sleep: a built-in"),
        (FunctionUse("hr", "elsewhere"), "unknown_function", "42501", "what hr.elsewhere does"),
        (FunctionUse("", "operator ++"), "unknown_function", "42501", "what operator ++ does"),
        (FunctionUse("", "type mood"), "unknown_function", "42501", "what type mood does"),
    ],
)
def test_functions_that_nobody_can_vouch_for(
    use: FunctionUse, code: str, state: str, words: str
) -> None:
    known = {("hr", "elsewhere"): (Function(9, "hr", "elsewhere", "f", "sql", ""),)}
    catalog = msgspec.structs.replace(
        LINEAGE.catalog, newest="1", functions=known, unlisted_builtins=frozenset({"pg_sleep"})
    )
    lineage = FakeLineage()
    lineage.catalog = catalog
    with pytest.raises(Refused) as told:
        plan(facts(calling(use)), 0, OWING, OWED, lineage)
    refusal = told.value.refusal
    assert (refusal.code.value, refusal.sqlstate) == (code, state)
    assert words in refusal.message
    assert ("trusted_functions" in refusal.remedy) is words.startswith("what ")
    if "does not exist" in words:  # what is written by hand may have left it out
        assert "does not exist" not in refused(calling(use)).message


CALLING = FunctionUse("public", "total", (71, 72))


def calling(use: FunctionUse = CALLING, action: Action = Action.EXECUTE_FUNCTION) -> StatementFacts:
    return msgspec.structs.replace(statement(Action.SELECT, action), functions=(use,))


def trusting(subject: StatementFacts, *oids: int, changed: tuple[int, ...] = ()) -> MaskPlan:
    trust = Trust(frozenset(oids), frozenset(changed))
    decision = Decision(Effect.ALLOW, (), owes_masks=True, trust=trust)
    return plan(facts(subject), 0, decision, OWED, LINEAGE)


@pytest.mark.parametrize("action", [Action.EXECUTE_FUNCTION, Action.CALL])
def test_trusted_functions_pass_when_all_that_may_be_meant_are_trusted(action: Action) -> None:
    assert not trusting(calling(action=action), 71, 72).unrestricted
    for trusted in [(), (71,), (72,), (73,)]:
        with pytest.raises(Refused) as told:
            trusting(calling(action=action), *trusted)
        assert told.value.refusal.code.value == "unknown_function"
        assert "sallyport policy trust" in told.value.refusal.remedy


def test_a_call_that_may_mean_something_not_known_is_nobodys_to_trust() -> None:
    with pytest.raises(Refused):
        trusting(calling(FunctionUse("public", "total")), 71, 72)


def test_functions_below_a_view_are_held_to_the_same() -> None:
    view = msgspec.structs.replace(statement(Action.SELECT), functions_below=(CALLING,))
    assert trusting(view, 71, 72).columns_known
    with pytest.raises(Refused):
        trusting(view, 71)


def test_a_changed_function_is_said_to_have_changed() -> None:
    with pytest.raises(Refused) as told:
        trusting(calling(), 71, changed=(72,))
    assert "not what it was" in told.value.refusal.message
    assert "renew its digest" in told.value.refusal.remedy
    with pytest.raises(Refused) as told:  # one was never declared: that is the reason
        trusting(calling(), changed=(72,))
    assert "is not known" in told.value.refusal.message


def test_system_secrets() -> None:
    told = refused(statement(Action.SELECT, flags=[Flag.READS_SYSTEM_SECRETS]))
    assert told.rule == "guard.system-secrets"


@pytest.mark.parametrize(
    ("confidence", "words", "code"),
    [
        (Confidence.PARTIAL, ("no relation foo",), "unresolved"),
        (Confidence.PARTIAL, (), "unresolved"),
        (Confidence.OPAQUE, (), "opaque"),
        (Confidence.EXACT, ("no column bar",), "unresolved"),
    ],
)
def test_what_is_not_understood(confidence: Confidence, words: tuple[str, ...], code: str) -> None:
    told = refused(statement(Action.SELECT, confidence=confidence, unresolved=words))
    assert told.code.value == code
    assert all(word in told.message for word in words)


def test_long_lists_of_reasons_are_shortened() -> None:
    words = [f"name {i}" for i in range(9)]
    told = refused(statement(Action.SELECT, confidence=Confidence.PARTIAL, unresolved=words))
    assert told.message.endswith("name 0, name 1, name 2 and 6 more")


@pytest.mark.parametrize(
    ("failure", "code", "state"),
    [
        ("syntax", "unparsable", "42601"),
        ("nul_byte", "unparsable", "42501"),
        ("too_long", "too_long", "42501"),
        ("too_deep", "too_complex", "42501"),
        ("crashed", "analysis_failed", "42501"),
        ("something new", "analysis_failed", "42501"),
    ],
)
def test_what_could_not_be_parsed(failure: str, code: str, state: str) -> None:
    broken = facts(statement(Action.OPAQUE, confidence=Confidence.OPAQUE, kind="Unparsed"))
    broken = msgspec.structs.replace(broken, failure=ParseFailure(failure, "at 'raw text'", 7))
    with pytest.raises(Refused) as caught:
        plan(broken, 0, OWING, OWED, LINEAGE)
    told = caught.value.refusal
    assert (told.code.value, told.sqlstate, told.position) == (code, state, 7)
    assert "raw text" not in told.message


def test_the_catalog_must_be_there_and_the_same() -> None:
    with pytest.raises(Refused) as caught:
        plan(facts(reading()), 0, OWING, OWED, None)
    assert caught.value.refusal.code.value == "catalog_unavailable"
    old = msgspec.structs.replace(facts(reading()), catalog_version="c0")
    with pytest.raises(Refused) as caught:
        plan(old, 0, OWING, OWED, LINEAGE)
    assert caught.value.refusal.code.value == "stale"


class TestCopies:
    def test_copy_of_a_table_with_masked_columns(self) -> None:
        whole = refused(statement(relations=[use(Action.COPY_TO, CUSTOMERS)], kind="CopyStmt"))
        assert whole.code.value == "unmaskable" and "SELECT" in whole.remedy
        some = statement(relations=[use(Action.COPY_TO, CUSTOMERS, "id", "name")])
        assert planned(some).touches == ()
        named = statement(relations=[use(Action.COPY_TO, CUSTOMERS, "id", "email")])
        assert refused(named).code.value == "unmaskable"

    def test_copy_of_a_query(self) -> None:
        shown = statement(
            Action.COPY_TO,
            Action.SELECT,
            relations=[use(Action.SELECT, CUSTOMERS, "email")],
            outputs=[plain(EMAIL)],
        )
        assert refused(shown).code.value == "unmaskable"
        clean = statement(
            Action.COPY_TO,
            Action.SELECT,
            relations=[use(Action.SELECT, CUSTOMERS, "name")],
            consumed=[NAME],
        )
        assert not planned(clean).masks_any

    @pytest.mark.parametrize("action", [Action.CREATE, Action.CREATE_TEMPORARY])
    def test_tables_from_queries(self, action: Action) -> None:
        def making(*columns: str) -> StatementFacts:
            return statement(
                action,
                Action.SELECT,
                relations=[use(Action.SELECT, CUSTOMERS, *columns)],
                kind="CreateTableAsStmt",
            )

        assert refused(making("id", "email")).code.value == "unmaskable"
        assert refused(making("*")).code.value == "unmaskable"
        assert planned(making("id")).columns == ()

    def test_views_over_relations_with_masked_columns(self) -> None:
        """Also of columns that are not masked: the server keeps the query, names may change."""
        for oid in (CUSTOMERS, CONTACTS):
            view = statement(
                Action.CREATE, relations=[use(Action.SELECT, oid, "id")], kind="ViewStmt"
            )
            assert refused(view).code.value == "unmaskable"
        clean = statement(
            Action.CREATE, relations=[use(Action.SELECT, EMPLOYEES, "id")], kind="ViewStmt"
        )
        assert planned(clean).columns == ()

    def test_an_index_on_a_table_with_masked_columns(self) -> None:
        """A unique index fails with the value in the error."""
        index = statement(relations=[use(Action.CREATE, CUSTOMERS, "email")], kind="IndexStmt")
        assert refused(index).code.value == "unmaskable"


class TestAlter:
    def test_what_is_masked_is_not_altered(self) -> None:
        """A new name could take a column out of its classification."""
        for oid in (CUSTOMERS, CONTACTS):
            told = refused(statement(relations=[use(Action.ALTER, oid)], kind="RenameStmt"))
            assert told.code.value == "masked_column_used"

    def test_what_is_not_seen_is_not_altered(self) -> None:
        assert refused(statement(Action.ALTER)).code.value == "unresolved"

    def test_other_tables_may_be(self) -> None:
        planned(statement(relations=[use(Action.ALTER, ORDERS)], kind="AlterTableStmt"))


def test_writes_touch_every_masked_column_of_the_row() -> None:
    written = statement(relations=[use(Action.UPDATE, CUSTOMERS, "name")], kind="UpdateStmt")
    assert planned(written).touches == (EMAIL, PHONE)


def test_writing_a_masked_column_elsewhere_is_refused() -> None:
    moved = statement(
        relations=[use(Action.INSERT, ORDERS, "card"), use(Action.SELECT, CUSTOMERS, "email")],
        consumed=[EMAIL],
        kind="InsertStmt",
    )
    assert refused(moved).code.value == "masked_column_used"


def test_results_that_the_facts_do_not_tell() -> None:
    execute = msgspec.structs.replace(
        statement(Action.EXECUTE, outputs_known=False, kind="ExecuteStmt"),
        prepared=PreparedUse("execute", "p"),
    )
    found = planned(execute)
    assert not found.columns_known and found.prepared == PreparedUse("execute", "p")
    assert found.kind == "ExecuteStmt"
