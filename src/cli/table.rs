//! Tables for people.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

/// How a column's cells are aligned.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    /// Text, from the left.
    Text(&'static str),
    /// A number, to the right.
    Number(&'static str),
}

/// A table with `columns` and `rows`, without borders so that it can be cut and pasted.
pub(crate) fn render(columns: &[Column], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.iter().map(|column| match column {
            Column::Text(name) => Cell::new(name),
            Column::Number(name) => Cell::new(name).set_alignment(CellAlignment::Right),
        }));
    for row in rows {
        table.add_row(row.into_iter().zip(columns).map(|(text, column)| {
            let cell = Cell::new(text);
            match column {
                Column::Text(_) => cell,
                Column::Number(_) => cell.set_alignment(CellAlignment::Right),
            }
        }));
    }
    let shown = table.to_string();
    // Every cell is padded by one space on both sides; the outer ones serve nobody.
    let lines: Vec<_> = shown
        .lines()
        .map(|line| line.strip_prefix(' ').unwrap_or(line).trim_end())
        .collect();
    lines.join("\n")
}
