//! Tables for people.

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::terminal::{Terminal, Weight, squeezed};

/// A column that is squeezed keeps so many characters at least.
const SQUEEZED_CHARS_MIN: usize = 12;

/// How a column's cells are aligned.
#[derive(Clone, Copy)]
pub(crate) enum Column {
    /// Text, from the left.
    Text(&'static str),
    /// A number, to the right.
    Number(&'static str),
}

impl Column {
    fn name(self) -> &'static str {
        match self {
            Self::Text(name) | Self::Number(name) => name,
        }
    }
}

/// What gives way where a table is wider than the terminal.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Room {
    /// The texts of these columns are squeezed first, one after the other.
    pub(crate) squeezed: &'static [&'static str],
    /// Then these go, one after the other.
    pub(crate) dropped: &'static [&'static str],
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

/// As [`render`], no wider than the terminal as far as `room` allows, each row in the colour of its weight.
pub(crate) fn render_for(
    terminal: &Terminal,
    columns: &[Column],
    rows: Vec<(Weight, Vec<String>)>,
    room: Room,
) -> String {
    let (weights, rows): (Vec<_>, Vec<_>) = rows.into_iter().unzip();
    let shown = match terminal.width {
        Some(width) => fitted(columns.to_vec(), rows, room, width),
        None => render(columns, rows),
    };
    let header = std::iter::once(Weight::Plain);
    let lines = shown.lines().zip(header.chain(weights));
    let lines: Vec<_> = lines
        .map(|(line, weight)| terminal.painted(line, weight))
        .collect();
    lines.join("\n")
}

fn fitted(
    mut columns: Vec<Column>,
    mut rows: Vec<Vec<String>>,
    room: Room,
    width: usize,
) -> String {
    let mut dropped = room.dropped.iter();
    loop {
        let shown = render(&columns, rows.clone());
        let excess = widest(&shown).saturating_sub(width);
        if excess == 0 {
            return shown;
        }
        if can_be_squeezed(&columns, &rows, room) >= excess {
            squeeze(&columns, &mut rows, room, excess);
            continue;
        }
        let Some(name) = dropped.next() else {
            // It stays too wide, and as narrow as it can be.
            squeeze(&columns, &mut rows, room, excess);
            return render(&columns, rows);
        };
        if let Some(at) = position(&columns, name) {
            columns.remove(at);
            for row in &mut rows {
                row.remove(at);
            }
        }
    }
}

/// The widest text of a column, and how much of that can go.
fn slack(columns: &[Column], rows: &[Vec<String>], name: &str) -> Option<(usize, usize, usize)> {
    let at = position(columns, name)?;
    let widths = rows.iter().map(|row| row[at].chars().count());
    let widest = widths.max().unwrap_or_default();
    Some((at, widest, widest.saturating_sub(SQUEEZED_CHARS_MIN)))
}

fn can_be_squeezed(columns: &[Column], rows: &[Vec<String>], room: Room) -> usize {
    let names = room.squeezed.iter();
    let slacks = names.filter_map(|name| slack(columns, rows, name));
    slacks.map(|(_, _, slack)| slack).sum()
}

fn squeeze(columns: &[Column], rows: &mut [Vec<String>], room: Room, mut excess: usize) {
    for name in room.squeezed {
        let Some((at, widest, slack)) = slack(columns, rows, name) else {
            continue;
        };
        let gone = slack.min(excess);
        excess -= gone;
        for row in &mut *rows {
            row[at] = squeezed(&row[at], widest - gone);
        }
    }
}

fn position(columns: &[Column], name: &str) -> Option<usize> {
    columns.iter().position(|column| column.name() == name)
}

fn widest(shown: &str) -> usize {
    let widths = shown.lines().map(|line| line.chars().count());
    widths.max().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 3] = [
        Column::Text("ROUTE"),
        Column::Number("READY"),
        Column::Number("IN/S"),
    ];

    const ROOM: Room = Room {
        squeezed: &["ROUTE"],
        dropped: &["IN/S", "READY"],
    };

    fn shown(width: Option<usize>) -> String {
        let row = |route: &str, ready: &str| vec![route.into(), ready.into(), "1".into()];
        let rows = vec![
            (Weight::Plain, row("a-route-with-a-long-name", "12")),
            (Weight::Wrong, row("lamps", "1 000 000")),
        ];
        let terminal = Terminal {
            width,
            has_colours: true,
        };
        render_for(&terminal, &COLUMNS, rows, ROOM)
    }

    #[test]
    fn a_table_gives_way_as_it_was_told() {
        let widths = [None, Some(80), Some(35), Some(24), Some(10)];
        let all: Vec<_> = widths
            .iter()
            .map(|width| format!("{width:?}\n{}", shown(*width)))
            .collect();
        insta::assert_snapshot!(all.join("\n\n"));
    }
}
