"""Changes of one operator, comparison or number, and the functions in which they stand."""

import ast

SWAPPED = {
    ast.Add: ast.Sub,
    ast.Sub: ast.Add,
    ast.Mult: ast.Div,
    ast.Div: ast.Mult,
    ast.Lt: ast.LtE,
    ast.LtE: ast.Lt,
    ast.Gt: ast.GtE,
    ast.GtE: ast.Gt,
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.And: ast.Or,
    ast.Or: ast.And,
}
NAMES = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.Lt: "<",
    ast.LtE: "<=",
    ast.Gt: ">",
    ast.GtE: ">=",
    ast.Eq: "==",
    ast.NotEq: "!=",
    ast.And: "and",
    ast.Or: "or",
}
FUNCTIONS = ast.FunctionDef | ast.AsyncFunctionDef


def changes(source):
    """Places that can be changed: (number of the node, line, what stands there)."""
    found = []
    for number, node in enumerate(ast.walk(ast.parse(source))):
        if isinstance(node, ast.BinOp | ast.BoolOp) and type(node.op) in SWAPPED:
            found.append((number, node.lineno, type(node.op)))
        elif isinstance(node, ast.Compare) and type(node.ops[0]) in SWAPPED:
            found.append((number, node.lineno, type(node.ops[0])))
        elif (
            isinstance(node, ast.Constant)
            and isinstance(node.value, int | float)
            and not isinstance(node.value, bool)
        ):
            found.append((number, node.lineno, node.value))
    return found


def changed(source, number, what):
    """The source with one place changed, and the change in words."""
    tree = ast.parse(source)
    node = next(each for index, each in enumerate(ast.walk(tree)) if index == number)
    if isinstance(node, ast.BinOp | ast.BoolOp):
        node.op = SWAPPED[what]()
        words = f"{NAMES[what]} -> {NAMES[SWAPPED[what]]}"
    elif isinstance(node, ast.Compare):
        node.ops[0] = SWAPPED[what]()
        words = f"{NAMES[what]} -> {NAMES[SWAPPED[what]]}"
    else:
        node.value = (what * 2 or 1.0) if isinstance(what, float) else what + 1
        words = f"{what} -> {node.value}"
    return ast.unparse(tree), words


def function_at(source, line):
    """First line of the innermost function whose body holds a line; 0: the module's own."""
    found = 0
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, FUNCTIONS) and node.body[0].lineno <= line <= node.end_lineno:
            found = max(found, node.lineno)
    return found


def instrumented(source, name):
    """The source with a note at the start of every function that it ran."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, FUNCTIONS):
            note = ast.parse(f"__import__('sys').ran.add(({name!r}, {node.lineno}))").body[0]
            first = node.body[0]
            has_text = isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant)
            node.body.insert(int(has_text), note)
    return ast.unparse(ast.fix_missing_locations(tree))
