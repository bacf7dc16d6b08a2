from drp.report.tables import Cell, ColumnGroup, Table, TableRow, signed, write_latex, write_markdown, write_text

TABLE = Table(
    key="main",
    title="Pass@1 & tokens",
    columns=["Model", "Pass@1", "#Tokens"],
    groups=[ColumnGroup("", 1), ColumnGroup("a_b|c", 2)],
    rows=[
        TableRow([Cell("Base"), Cell("91.7%", note="90.1–93.1"), Cell("917")]),
        TableRow([Cell("+DRP"), Cell("94.1%"), Cell("328", "−64%", "good")]),
    ],
    caption="With <b>intervals</b>.",
)


def test_markdown_escapes_column_separators() -> None:
    lines = write_markdown(TABLE).splitlines()
    assert lines[2] == "| Model | a\\_b\\|c Pass@1 | a\\_b\\|c #Tokens |"
    assert lines[3] == "| --- | ---: | ---: |"
    assert lines[5] == "| +DRP | 94.1% | 328 (−64%) |"
    assert "&lt;b&gt;" in lines[-1]


def test_latex_escapes_special_characters() -> None:
    text = write_latex(TABLE)
    assert "\\multicolumn{2}{c}{a\\_b\\textbar{}c}" in text
    assert "+DRP & 94.1\\% & 328 ($-$64\\%) \\\\" in text
    assert "Base & 91.7\\% & 917 \\\\\n & {\\scriptsize 90.1--93.1} &  \\\\" in text
    assert "Pass@1 \\& tokens." in text
    assert "\\begin{tabular}{lrr}" in text


def test_text_is_aligned_ascii() -> None:
    text = write_text(TABLE)
    assert text.isascii()
    assert "+DRP    94.1%  328 (-64%)" in text
    assert len({len(line) for line in text.splitlines()[2:5] if not line.startswith("Base")}) == 1


def test_a_change_that_rounds_to_nothing_has_no_sign() -> None:
    assert [signed(-0.2, 0, "%"), signed(0.04, 1), signed(-64.2, unit="%"), signed(3)] == ["0%", "0.0", "−64%", "+3"]
