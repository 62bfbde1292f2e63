"""Every statement of PostgreSQL 18's grammar by the name of its parse-tree node, and what it does.

Asked by `statements`. Its rule: a node that is not listed is OPAQUE, so that only a rule naming
that can allow it.
"""

from collections.abc import Mapping

from appliance.model.facts import Action

# Data definition and administration: one action, and what they name is walked for relations and
# calls.
DEFINITIONS: Mapping[str, Action] = {
    # objects of a schema
    "CreateStmt": Action.CREATE,
    "CreateSeqStmt": Action.CREATE,
    "CreateSchemaStmt": Action.CREATE,
    "CreateDomainStmt": Action.CREATE,
    "CreateEnumStmt": Action.CREATE,
    "CompositeTypeStmt": Action.CREATE,
    "CreateStatsStmt": Action.CREATE,
    "CreateConversionStmt": Action.CREATE_FUNCTION,
    "CreatePolicyStmt": Action.CREATE,
    "IndexStmt": Action.CREATE,
    "AlterTableStmt": Action.ALTER,
    "AlterTableMoveAllStmt": Action.ALTER,
    "AlterCollationStmt": Action.ALTER,
    "AlterDomainStmt": Action.ALTER,
    "AlterEnumStmt": Action.ALTER,
    "AlterExtensionContentsStmt": Action.ALTER,
    "AlterExtensionStmt": Action.ALTER,
    "AlterFunctionStmt": Action.ALTER,
    "AlterObjectDependsStmt": Action.ALTER,
    "AlterObjectSchemaStmt": Action.ALTER,
    "AlterOpFamilyStmt": Action.ALTER,
    "AlterOperatorStmt": Action.ALTER,
    "AlterOwnerStmt": Action.ALTER,
    "AlterPolicyStmt": Action.ALTER,
    "AlterSeqStmt": Action.ALTER,
    "AlterStatsStmt": Action.ALTER,
    "AlterTSConfigurationStmt": Action.ALTER,
    "AlterTSDictionaryStmt": Action.ALTER,
    "AlterTypeStmt": Action.ALTER,
    "AlterEventTrigStmt": Action.ALTER,
    "RenameStmt": Action.ALTER,
    "ReplicaIdentityStmt": Action.ALTER,
    "DropStmt": Action.DROP,
    "CommentStmt": Action.COMMENT,
    "SecLabelStmt": Action.COMMENT,
    # code
    "CreateFunctionStmt": Action.CREATE_FUNCTION,
    "CreateTrigStmt": Action.CREATE_FUNCTION,
    "CreateEventTrigStmt": Action.CREATE_FUNCTION,
    "CreateCastStmt": Action.CREATE_FUNCTION,
    "CreateTransformStmt": Action.CREATE_FUNCTION,
    "CreateOpClassStmt": Action.CREATE_FUNCTION,
    "CreateOpFamilyStmt": Action.CREATE_FUNCTION,
    "CreatePLangStmt": Action.CREATE_FUNCTION,
    "CreateAmStmt": Action.CREATE_FUNCTION,
    "CreateRangeStmt": Action.CREATE_FUNCTION,  # its functions are called behind every value
    "DefineStmt": Action.CREATE_FUNCTION,
    "RuleStmt": Action.CREATE_FUNCTION,
    "CreateExtensionStmt": Action.CREATE_EXTENSION,
    "LoadStmt": Action.LOAD,
    # privileges and roles
    "GrantStmt": Action.GRANT,
    "AlterDefaultPrivilegesStmt": Action.GRANT,
    "ReassignOwnedStmt": Action.GRANT,
    "GrantRoleStmt": Action.ROLE,
    "CreateRoleStmt": Action.ROLE,
    "AlterRoleStmt": Action.ROLE,
    "DropRoleStmt": Action.ROLE,
    "DropOwnedStmt": Action.DROP,
    # the server
    "AlterSystemStmt": Action.ALTER_SYSTEM,
    "AlterDatabaseSetStmt": Action.ALTER_SYSTEM,
    "AlterRoleSetStmt": Action.ALTER_SYSTEM,
    "AlterDatabaseStmt": Action.ALTER_SYSTEM,
    "AlterDatabaseRefreshCollStmt": Action.ALTER_SYSTEM,
    "AlterTableSpaceOptionsStmt": Action.ALTER_SYSTEM,
    "CreatedbStmt": Action.CREATE,
    "DropdbStmt": Action.DROP,
    "CreateTableSpaceStmt": Action.CREATE,
    "DropTableSpaceStmt": Action.DROP,
    "CheckPointStmt": Action.MAINTAIN,
    "VacuumStmt": Action.MAINTAIN,
    "ReindexStmt": Action.MAINTAIN,
    "ClusterStmt": Action.MAINTAIN,
    "RefreshMatViewStmt": Action.MAINTAIN,
    # elsewhere
    "CreateFdwStmt": Action.FOREIGN_SERVER,
    "AlterFdwStmt": Action.FOREIGN_SERVER,
    "CreateForeignServerStmt": Action.FOREIGN_SERVER,
    "AlterForeignServerStmt": Action.FOREIGN_SERVER,
    "CreateForeignTableStmt": Action.FOREIGN_SERVER,
    "CreateUserMappingStmt": Action.FOREIGN_SERVER,
    "AlterUserMappingStmt": Action.FOREIGN_SERVER,
    "DropUserMappingStmt": Action.FOREIGN_SERVER,
    "ImportForeignSchemaStmt": Action.FOREIGN_SERVER,
    "CreatePublicationStmt": Action.REPLICATION,
    "AlterPublicationStmt": Action.REPLICATION,
    "CreateSubscriptionStmt": Action.REPLICATION,
    "AlterSubscriptionStmt": Action.REPLICATION,
    "DropSubscriptionStmt": Action.REPLICATION,
    # data
    "TruncateStmt": Action.TRUNCATE,
    "LockStmt": Action.LOCK,
}

# What changes no catalog and stores nothing by itself.
SCHEMA_UNCHANGED = frozenset(
    {"TruncateStmt", "LockStmt", "CheckPointStmt", "VacuumStmt", "LoadStmt", "AlterSystemStmt"}
)
WRITES_NOTHING = frozenset({"LockStmt", "CheckPointStmt", "LoadStmt"})

# Sessions and transactions.
SESSION: Mapping[str, Action] = {
    "VariableShowStmt": Action.SHOW,
    "DiscardStmt": Action.DISCARD,
    "ListenStmt": Action.LISTEN,
    "UnlistenStmt": Action.LISTEN,
    "NotifyStmt": Action.NOTIFY,
    "ConstraintsSetStmt": Action.TRANSACTION,
    "DeallocateStmt": Action.DEALLOCATE,
    "ClosePortalStmt": Action.CURSOR,
    "FetchStmt": Action.CURSOR,
}

TWO_PHASE = frozenset(
    {"TRANS_STMT_PREPARE", "TRANS_STMT_COMMIT_PREPARED", "TRANS_STMT_ROLLBACK_PREPARED"}
)

# DropStmt.removeType of what is named by (schema, name) and lives in pg_class.
RELATION_OBJECTS = frozenset(
    [
        "OBJECT_TABLE",
        "OBJECT_VIEW",
        "OBJECT_MATVIEW",
        "OBJECT_FOREIGN_TABLE",
        "OBJECT_SEQUENCE",
        "OBJECT_INDEX",
    ]
)
# Objects that belong to a relation, named by (schema, relation, name).
OF_RELATION_OBJECTS = frozenset(
    ["OBJECT_TRIGGER", "OBJECT_RULE", "OBJECT_POLICY", "OBJECT_TABCONSTRAINT", "OBJECT_COLUMN"]
)

ROLE_SETTINGS = frozenset({"role", "session_authorization"})
MEANING_SETTINGS = ROLE_SETTINGS | {
    "search_path",
    "standard_conforming_strings",
    "backslash_quote",
    "escape_string_warning",
    "client_encoding",
    "names",
    "array_nulls",
    "transform_null_equals",
    "row_security",
    "default_table_access_method",
    "check_function_bodies",
    "session_preload_libraries",
    "local_preload_libraries",
    "dynamic_library_path",
    "default_text_search_config",
    "quote_all_identifiers",
}
"""Settings that change what a later text means, how it is lexed, or whose rights it runs with."""
