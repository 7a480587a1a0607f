//! How do numbers line up in a terminal?
//!
//! One look for all tables: names flush left, numbers flush right, no lines; marked cells are green where
//! colour is wanted.

use comfy_table::{CellAlignment, Color, Table, presets};

/// One cell.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// Is it worth looking at?
    pub marked: bool,
}

impl Cell {
    /// A cell like any other.
    pub fn plain(text: impl Into<String>) -> Self {
        Self { text: text.into(), marked: false }
    }
}

/// Renders rows under a header (which may have several lines per cell), without a final line break.
pub fn render<'a>(header: impl IntoIterator<Item = &'a str>, rows: &[Vec<Cell>], colour: bool) -> String {
    let aligned = |text: &str, column: usize| {
        let alignment = if column == 0 { CellAlignment::Left } else { CellAlignment::Right };
        comfy_table::Cell::new(text).set_alignment(alignment)
    };
    let mut table = Table::new();
    table.load_preset(presets::NOTHING);
    table.set_header(header.into_iter().enumerate().map(|(i, text)| aligned(text, i)));
    for row in rows {
        table.add_row(row.iter().enumerate().map(|(i, cell)| {
            let shown = aligned(&cell.text, i);
            if cell.marked && colour { shown.fg(Color::Green) } else { shown }
        }));
    }
    if colour {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    table.trim_fmt()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_line_up_and_colour_is_a_choice() {
        let rows = [
            vec![Cell::plain("a"), Cell { text: "1.5".into(), marked: true }],
            vec![Cell::plain("long name"), Cell::plain("10.25")],
        ];
        let plain = render(["policy", "hours"], &rows, false);
        let ends: Vec<usize> = plain.lines().map(str::len).collect();
        assert!(ends.windows(2).all(|w| w[0] == w[1]), "{plain}");
        assert!(!plain.contains('\x1b'));
        assert!(render(["policy", "hours"], &rows, true).contains('\x1b'));
    }
}
