//! A report as Markdown: its words and tables.

use crate::document::{Document, Part, Table};
use ssl_cli::printable;
use std::fmt::Write;

/// The text.
pub fn text(document: &Document) -> String {
    let mut text = format!("# {}\n", safe(&document.title));
    for section in &document.sections {
        text += &format!("\n## {}\n", safe(&section.title));
        for part in &section.parts {
            match part {
                Part::Text(paragraph) => text += &format!("\n{}\n", safe(paragraph)),
                Part::Table(table) => write_table(&mut text, table),
                Part::Figure(_) => {}
            }
        }
    }
    text
}

fn write_table(text: &mut String, table: &Table) {
    let line = |cells: &[String]| format!("| {} |\n", cells.iter().map(|cell| safe(cell)).collect::<Vec<_>>().join(" | "));
    let rules: Vec<&str> =
        (0..table.headings.len()).map(|column| if column < table.first_number { "---" } else { "---:" }).collect();
    // Writing to a string cannot fail.
    let _ = write!(text, "\n{}:\n\n{}|{}|\n", safe(&table.caption), line(&table.headings), rules.join("|"));
    table.rows.iter().for_each(|row| *text += &line(row));
}

/// Text in which nothing has a meaning to Markdown or HTML.
fn safe(text: &str) -> String {
    let mut safe = String::new();
    for c in printable(text).chars() {
        match c {
            '<' => safe += "&lt;",
            '>' => safe += "&gt;",
            '&' => safe += "&amp;",
            '\\' | '`' | '*' | '_' | '{' | '}' | '[' | ']' | '|' | '#' => safe.extend(['\\', c]),
            c => safe.push(c),
        }
    }
    safe
}
