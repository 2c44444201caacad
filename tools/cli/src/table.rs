//! Tables of text that fit the screen: where they are too wide, columns that matter less are left out and names are cut in the middle.
//! What programs read has all of it (`--json`).

use std::fmt;
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns of a screen, where that is not known.
const USUAL_WIDTH: usize = 80;
/// Between two columns.
const GAP: usize = 2;
/// Columns are left out rather than that those of text become narrower than this, or than they have to be.
const READABLE: usize = 14;
/// Columns of text are never narrower, however wide the others are.
const NARROWEST: usize = 8;

/// A table: a line of headings, and rows.
#[derive(Clone, Debug)]
pub struct Table {
    headings: Vec<String>,
    first_number: usize,
    dispensable: Vec<String>,
    rows: Vec<Vec<String>>,
}

/// A table with these headings. Columns from `first_number` on hold figures and are aligned right; those before hold text, which may be cut.
pub fn table(headings: &[&str], first_number: usize) -> Table {
    let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
    Table { headings, first_number, dispensable: Vec::new(), rows: Vec::new() }
}

impl Table {
    /// The same table, of which these columns are left out where there is no room for all, first ones first.
    #[must_use]
    pub fn leaving_out(mut self, headings: &[&str]) -> Table {
        self.dispensable = headings.iter().map(|heading| (*heading).to_owned()).collect();
        self
    }

    /// Adds a row, of a cell for each heading.
    pub fn add_row<C: Into<String>>(&mut self, cells: impl IntoIterator<Item = C>) {
        let mut row: Vec<String> = cells.into_iter().map(Into::into).collect();
        row.resize(self.headings.len(), String::new());
        self.rows.push(row);
    }

    /// The table as standard output has room for it: as the terminal that it is, or as the usual one.
    pub fn fitted(&self) -> String {
        let terminal = terminal_size::terminal_size_of(std::io::stdout());
        self.within(terminal.map_or(USUAL_WIDTH, |(width, _)| width.0.into()))
    }

    /// The table in lines of this width, if that can be.
    fn within(&self, width: usize) -> String {
        let mut columns: Vec<usize> = (0..self.headings.len()).collect();
        let mut dispensable = self.dispensable.iter();
        let is_text = |&column: &usize| column < self.first_number;
        let mut widths: Vec<usize> = columns.iter().map(|&column| self.natural(column)).collect();
        let gaps = |columns: &[usize]| GAP * columns.len().saturating_sub(1);
        let readable = |columns: &[usize]| {
            let wide = columns.iter().map(|column| if is_text(column) { widths[*column].min(READABLE) } else { widths[*column] });
            wide.sum::<usize>() + gaps(columns)
        };
        while readable(&columns) > width {
            let Some(heading) = dispensable.next() else { break };
            columns.retain(|&column| self.headings[column] != *heading);
        }
        while columns.iter().map(|&column| widths[column]).sum::<usize>() + gaps(&columns) > width {
            // The one of which the fewest cells are cut.
            let cells_cut = |column: usize| self.rows.iter().filter(|row| row[column].width() >= widths[column]).count();
            let narrowed = columns.iter().copied().filter(is_text).filter(|&column| widths[column] > NARROWEST);
            match narrowed.min_by_key(|&column| (cells_cut(column), std::cmp::Reverse(widths[column]))) {
                Some(column) => widths[column] -= 1,
                None => break,
            }
        }
        let line = |row: &[String]| {
            let cell = |&column: &usize| {
                let text = cut(&row[column], widths[column]);
                let space = " ".repeat(widths[column].saturating_sub(text.width()));
                if is_text(&column) { text + &space } else { space + &text }
            };
            columns.iter().map(cell).collect::<Vec<_>>().join(&" ".repeat(GAP)).trim_end().to_owned()
        };
        let rule = "─".repeat(columns.iter().map(|&column| widths[column]).sum::<usize>() + gaps(&columns));
        let rows = self.rows.iter().map(|row| line(row));
        [line(&self.headings), rule.clone()].into_iter().chain(rows).chain([rule]).collect::<Vec<_>>().join("\n")
    }

    /// How wide a column is if nothing is cut.
    fn natural(&self, column: usize) -> usize {
        let cells = self.rows.iter().map(|row| row[column].width());
        cells.chain([self.headings[column].width()]).max().unwrap_or(0)
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.within(usize::MAX))
    }
}

/// Text in so many columns: what it says first and, as names differ at their ends, more of what it says last. Names that exporters make
/// end with the operator, which says least: it goes first.
fn cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let is_operator = |last: &str| last.starts_with(|c: char| c.is_ascii_uppercase());
    match text.rsplit_once('/').filter(|(rest, last)| !rest.is_empty() && is_operator(last)) {
        Some((rest, _)) if rest.width() < width => format!("{rest}…"),
        Some((rest, _)) => middle_cut(rest, width),
        None => middle_cut(text, width),
    }
}

fn middle_cut(text: &str, width: usize) -> String {
    if text.width() <= width {
        return text.to_owned();
    }
    let room = width.saturating_sub(1);
    let head = part(text.chars(), room / 2);
    let tail: Vec<char> = part(text.chars().rev(), room - room / 2).into_iter().rev().collect();
    head.into_iter().chain(['…']).chain(tail).collect()
}

/// The first characters that fit.
fn part(text: impl Iterator<Item = char>, mut room: usize) -> Vec<char> {
    let fits = |c: &char| {
        let width = c.width().unwrap_or(0);
        let fits = width <= room;
        room = room.saturating_sub(width);
        fits
    };
    text.take_while(fits).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Table {
        let mut table = table(&["layer", "op", "MACs", "time"], 2).leaving_out(&["MACs"]);
        table.add_row(["/block2_1/shortcut/shortcut.0/Conv", "Conv", "131 k", "2.10 us"]);
        table.add_row(["/fc/Gemm", "Gemm", "640", "500 ns"]);
        table
    }

    #[test]
    fn all_of_it_where_there_is_room() {
        let expected = "\
layer                               op     MACs     time
────────────────────────────────────────────────────────
/block2_1/shortcut/shortcut.0/Conv  Conv  131 k  2.10 us
/fc/Gemm                            Gemm    640   500 ns
────────────────────────────────────────────────────────";
        assert_eq!(example().to_string(), expected);
        assert_eq!(example().within(56), expected);
    }

    #[test]
    fn names_are_cut_before_columns_are_left_out_and_no_more_than_needed() {
        let lines = |width: usize| example().within(width).lines().map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(lines(52)[2], "/block2_1/shortcut/shortcut.0…  Conv  131 k  2.10 us");
        assert_eq!(lines(40)[2], "/block2_…hortcut.0  Conv  131 k  2.10 us");
        for width in 26..60 {
            let widest = lines(width).iter().map(|line| line.width()).max();
            assert!(widest <= Some(width), "{width}: {widest:?}");
        }
        assert!(lines(36)[0].contains("MACs") && !lines(35)[0].contains("MACs"), "{:?}", lines(35));
        assert_eq!(lines(1)[2], "/bl…ut.0  Conv  2.10 us", "no narrower than it can be read");
    }

    /// One long cell costs less than many.
    #[test]
    fn few_cells_are_cut_rather_than_many() {
        let mut table = table(&["node", "op"], 2);
        table.add_row(["/pool/GlobalAveragePool", "GlobalAveragePool"]);
        for i in 0..5 {
            table.add_row([&format!("/block{i}/conv1/Conv"), "Conv"]);
        }
        let shown = table.within(28);
        assert!(shown.contains("/block4/conv1/Conv  Conv") && shown.contains("/pool…              Glo…Pool"), "{shown}");
    }

    #[test]
    fn characters_are_as_wide_as_they_are_shown() {
        assert_eq!(cut("畳み込み層一", 12), "畳み込み層一");
        let short = cut("畳み込み層一", 8);
        assert!(short.width() <= 8 && short.contains('…'), "{short}");
        assert_eq!([cut("abc", 3), cut("abcdef", 3), cut("abc", 1), cut("", 0)], ["abc", "a…f", "…", ""]);
    }
}
