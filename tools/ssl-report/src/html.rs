//! A report as one HTML page that needs no other file and fetches nothing.

use crate::charts::VIEW_BOX;
use crate::document::{Document, Figure, Part, Table};
use maud::{DOCTYPE, Markup, PreEscaped, html};
use ssl_cli::printable;

/// The page.
pub fn page(document: &Document) -> String {
    let sections = || document.sections.iter().enumerate();
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                meta name="color-scheme" content="light dark";
                title { (printable(&document.title)) }
                style { (PreEscaped(include_str!("style.css"))) }
            }
            body {
                header { h1 { (printable(&document.title)) } }
                nav aria-label="Contents" {
                    ul { @for (i, section) in sections() { li { a href=(format!("#s{i}")) { (printable(&section.title)) } } } }
                }
                main {
                    @for (i, section) in sections() {
                        section aria-labelledby=(format!("s{i}")) {
                            h2 id=(format!("s{i}")) { (printable(&section.title)) }
                            @for (j, part) in section.parts.iter().enumerate() { (self::part(part, &format!("s{i}p{j}"))) }
                        }
                    }
                }
            }
        }
    };
    page.into_string()
}

fn part(part: &Part, id: &str) -> Markup {
    match part {
        Part::Text(text) => html! { p { (printable(text)) } },
        Part::Table(table) if table.long => html! { details { summary { (printable(&table.caption)) } (self::table(table)) } },
        Part::Table(table) => self::table(table),
        Part::Figure(figure) => self::figure(figure, id),
    }
}

fn table(table: &Table) -> Markup {
    let number = |column: usize| (column >= table.first_number).then_some("number");
    let first_sum = table.headings.len().saturating_sub(table.sums);
    let class = |column: usize| if column >= first_sum { "number sum" } else { number(column).unwrap_or_default() };
    html! {
        // Wide tables scroll by themselves; with a keyboard, too.
        section.wide tabindex="0" aria-label=(printable(&table.caption)) {
            table {
                caption { (printable(&table.caption)) }
                thead { tr { @for (i, heading) in table.headings.iter().enumerate() {
                    th scope="col" class=[number(i)] { (printable(heading)) }
                } } }
                tbody { @for row in &table.rows {
                    tr { @for (i, cell) in row.iter().enumerate() {
                        @if i == 0 { th scope="row" { (printable(cell)) } } @else { td class=(class(i)) { (printable(cell)) } }
                    } }
                } }
            }
        }
    }
}

fn figure(figure: &Figure, id: &str) -> Markup {
    let (title, description) = (format!("{id}t"), format!("{id}d"));
    html! {
        figure {
            figcaption { (printable(&figure.title)) }
            svg viewBox=(format!("0 0 {} {}", VIEW_BOX.0, VIEW_BOX.1)) role="img" aria-labelledby=(format!("{title} {description}")) {
                title id=(title) { (printable(&figure.title)) }
                desc id=(description) { (printable(&figure.description)) }
                (PreEscaped(&figure.svg))
            }
            ul.legend { @for (colour, name) in &figure.legend {
                li { span.swatch.{ "series-" (colour) } {} (printable(name)) }
            } }
        }
    }
}
