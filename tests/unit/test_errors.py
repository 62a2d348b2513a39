"""What an error says in one line."""

import pytest

from serving.errors import one_line


@pytest.mark.parametrize(
    ("said", "line"),
    [
        ("first\nsecond", "first"),
        ("  first  ", "first"),
        ("x" * 400, "x" * 300),
        ("", "ValueError"),
        ("API request to http://anna:pa:ss@mlflow:5000/api failed", "API request to http://mlflow:5000/api failed"),
        ("https://t0ken@host/x and http://a:b@host", "https://host/x and http://host"),
        ("mail anna@example.com about https://host/a@b", "mail anna@example.com about https://host/a@b"),
    ],
)
def test_it_is_the_first_line_short_and_without_logins(said, line):
    assert one_line(ValueError(said)) == line
