"""Text in CSV files: a spreadsheet must not compute it as a formula.

A spreadsheet computes a cell that begins with =, +, -, @, a tab or a line break, also in their full-width forms; class
names, file names and errors of others may begin so. An apostrophe before them makes the cell text, as OWASP recommends
(https://owasp.org/www-community/attacks/CSV_Injection). Text with apostrophes before such a character gets one more, so
removing one apostrophe from every cell that matches `'+[=+-@…]` restores the text.
"""

import re

import pyarrow as pa
import pyarrow.compute as pc

_FORMULA = "('*[=+\\-@\t\r\n\uff0b\uff0d\uff1d\uff20])"
_PATTERN = re.compile(_FORMULA)


def escape_formula(text: str) -> str:
    """The text with an apostrophe before it if a spreadsheet might compute it."""
    return f"'{text}" if _PATTERN.match(text) else text


def escape_formulas(column: pa.Array) -> pa.Array:
    """A column of strings, each as `escape_formula` returns it."""
    return pc.replace_substring_regex(column, f"^{_FORMULA}", "'\\1")
