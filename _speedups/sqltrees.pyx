"""Walks over whole parse trees (dicts and lists, libpg_query's JSON form): what is in one, and
whether two are the same statement.

Called by sql/. Rule: a tree nested deeper than any parser's is not the same as another.
"""

from cpython.dict cimport PyDict_Contains, PyDict_GetItemWithError, PyDict_Next
from cpython.object cimport Py_NE, PyObject, PyObject_IsTrue, PyObject_RichCompareBool
from cpython.set cimport PySet_Contains

cdef enum:
    DEPTH_MAX = 4096  # levels; orjson reads 1024


def bodies(tree: object, kind: str) -> list:
    """The body of every node of a kind, at any depth, in no particular order."""
    cdef list found = []
    cdef list stack = [tree]
    cdef PyObject* key_place
    cdef PyObject* value_place
    cdef Py_ssize_t at
    while stack:
        value = stack.pop()
        if type(value) is dict:
            at = 0
            while PyDict_Next(<dict>value, &at, &key_place, &value_place):
                inner = <object>value_place
                if type(inner) is dict:
                    if <object>key_place == kind:
                        found.append(inner)
                    stack.append(inner)
                elif type(inner) is list:
                    stack.append(inner)
        elif type(value) is list:
            stack.extend(<list>value)
    return found


def walk_constants(tree: object, conditions: frozenset, compared: object) -> list | None:
    """What `compared` gives for each A_Expr below one of the fields `conditions` of its query, all in
    one list; None when there is an integer or a string anywhere else, or in an A_Expr for which it
    gives None."""
    cdef list found = []
    cdef list plain = [tree]
    cdef list within = []
    cdef list stack
    cdef bint condition
    while plain or within:
        condition = not plain
        stack = within if condition else plain
        value = stack.pop()
        if type(value) is list:
            stack.extend(<list>value)
        elif type(value) is dict and not _note(
            <dict>value, condition, conditions, compared, plain, within, found
        ):
            return None
    return found


cdef bint _note(
    dict body, bint condition, frozenset conditions, object compared,
    list plain, list within, list found,
) except -1:
    """The fields of one body: `plain` and `within` are still to be walked. False: it is over."""
    cdef PyObject* key_place
    cdef PyObject* value_place
    cdef Py_ssize_t at = 0
    while PyDict_Next(body, &at, &key_place, &value_place):
        inner = <object>value_place
        if type(inner) is not dict and type(inner) is not list:
            continue
        key = <object>key_place
        if key == "A_Const":
            if "ival" in inner or "sval" in inner:
                return False
            continue
        if key == "A_Expr" and condition:
            places = compared(inner)
            if places is not None:
                found.extend(places)
                continue
        if key == "SelectStmt":
            plain.append(inner)
        elif condition or PySet_Contains(conditions, key):
            within.append(inner)
        else:
            plain.append(inner)
    return True


def same_tree(one: object, other: object, skipped: frozenset) -> bool:
    """Whether both are equal, but for the fields in `skipped`, those that are false, 0, '' or an
    empty list and may be left out, and the spellings of conjunctions and of truth values."""
    return _same(one, other, skipped, 0)


cdef bint _same(object left, object right, frozenset skipped, int depth) except -1:
    if type(left) is not type(right) or depth > DEPTH_MAX:
        return False
    if type(left) is dict:
        return _same_fields(<dict>left, <dict>right, skipped, depth)
    if type(left) is list:
        return _same_elements(<list>left, <list>right, skipped, depth)
    return not PyObject_RichCompareBool(left, right, Py_NE)


cdef bint _same_elements(list left, list right, frozenset skipped, int depth) except -1:
    cdef Py_ssize_t place
    if len(left) != len(right):
        return False
    for place in range(len(left)):
        if not _same(left[place], right[place], skipped, depth + 1):
            return False
    return True


cdef bint _same_fields(dict left, dict right, frozenset skipped, int depth) except -1:
    cdef PyObject* key_place
    cdef PyObject* value_place
    cdef PyObject* other_place
    cdef Py_ssize_t at = 0
    cdef object key, value, other
    while PyDict_Next(left, &at, &key_place, &value_place):
        key, value = <object>key_place, <object>value_place
        if PySet_Contains(skipped, key):
            continue
        other_place = PyDict_GetItemWithError(right, key)
        other = None if other_place is NULL else <object>other_place
        if type(value) is dict or (type(value) is list and len(<list>value)):
            if not _same_value(key, value, other, skipped, depth + 1):
                return False
        elif (
            type(value) is not type(other) or PyObject_RichCompareBool(value, other, Py_NE)
        ) and not (_may_be_left_out(value) and _may_be_left_out(other)):
            return False
    at = 0
    while PyDict_Next(right, &at, &key_place, &value_place):
        key = <object>key_place
        if (
            not PyDict_Contains(left, key)
            and not PySet_Contains(skipped, key)
            and not _may_be_left_out(<object>value_place)
        ):
            return False
    return True


cdef bint _may_be_left_out(object value) except -1:
    return type(value) is not dict and not PyObject_IsTrue(value)


cdef bint _same_value(
    object key, object left, object right, frozenset skipped, int depth
) except -1:
    """Of a field: node kinds that have two spellings are brought into one before."""
    if key == "BoolExpr":
        left, right = _flattened(left), _flattened(right)
    elif key == "DefElem":
        left, right = _worded(left), _worded(right)
    return _same(left, right, skipped, depth)


cdef object _flattened(object body):
    """A BoolExpr's body, as the grammar flattens it: on the left."""
    if type(body) is not dict:
        return body
    operation, arguments = body.get("boolop"), body.get("args", [])
    rest = []
    while operation != "NOT_EXPR" and type(arguments) is list and arguments:
        first = arguments[0].get("BoolExpr") if type(arguments[0]) is dict else None
        if type(first) is not dict or first.get("boolop") != operation:
            break
        if type(first.get("args")) is not list or len(first["args"]) < 2:
            break
        rest.append(arguments[1:])
        arguments = first["args"]
    if not rest:
        return body
    flat = list(arguments)
    for tail in reversed(rest):
        flat.extend(tail)
    return {**body, "args": flat}


cdef object _worded(object body):
    """A DefElem's body, with a truth value as the word for it."""
    argument = body.get("arg") if type(body) is dict else None
    if type(argument) is not dict or type(argument.get("Boolean")) is not dict:
        return body
    value = "true" if argument["Boolean"].get("boolval") else "false"
    return {**body, "arg": {"String": {"sval": value}}}
