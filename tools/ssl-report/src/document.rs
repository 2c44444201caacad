//! What a report consists of, before it is written as HTML or as Markdown: so both say the same.

/// A page.
pub struct Document {
    /// Its heading.
    pub title: String,
    /// In order.
    pub sections: Vec<Section>,
}

/// Something with a heading.
pub struct Section {
    /// Its heading.
    pub title: String,
    /// In order.
    pub parts: Vec<Part>,
}

/// What stands under a heading.
pub enum Part {
    /// A paragraph.
    Text(String),
    /// Figures in rows and columns.
    Table(Table),
    /// A drawing; pages have it, Markdown does not.
    Figure(Figure),
}

/// Cells of text.
pub struct Table {
    /// What it shows.
    pub caption: String,
    /// The heading of each column.
    pub headings: Vec<String>,
    /// Columns from this one on hold figures, which are aligned right.
    pub first_number: usize,
    /// The rows, each of as many cells as there are headings.
    pub rows: Vec<Vec<String>>,
    /// Columns at the end that sum up the others.
    pub sums: usize,
    /// Whether it is so long that it is folded up at first.
    pub long: bool,
}

impl Table {
    /// A table without rows.
    pub(crate) fn new(caption: impl Into<String>, headings: &[&str], first_number: usize) -> Self {
        let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
        Table { caption: caption.into(), headings, first_number, rows: Vec::new(), sums: 0, long: false }
    }
}

/// A drawing. A table nearby says the same in figures.
pub struct Figure {
    /// What it is.
    pub title: String,
    /// What it shows, for those who do not see it.
    pub description: String,
    /// An `svg` element.
    pub svg: String,
    /// Its colours, by their index in the style sheet, and what each of them stands for.
    pub legend: Vec<(usize, String)>,
}
