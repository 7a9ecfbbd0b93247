from rich.table import Table

from hybrid_batch.data.terminal.console import open_console


def test_piped_tables_have_no_trailing_blanks_and_no_truncation(capsys):
    table = Table("short", "long", box=None)
    table.add_row("a", "x" * 150)
    table.add_row("a", "x")
    open_console().print(table)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split() for line in lines] == [["short", "long"], ["a", "x" * 150], ["a", "x"]]
    assert lines == [line.rstrip() for line in lines]
    assert lines[0].index("long") == lines[1].index("x")


def test_a_terminal_gets_colours_and_blanks(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    open_console().print("[bold]a[/]  ")
    assert capsys.readouterr().out == "\x1b[1ma\x1b[0m  \n"


def test_the_smallest_width_of_a_column_is_part_of_the_width_of_its_table(capsys, monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "10")
    table = Table(box=None)
    table.add_column("by", min_width=9)
    table.add_column("records", justify="right", no_wrap=True)
    table.add_row("a", "123456")
    open_console().print(table)
    assert "123456" in capsys.readouterr().out
