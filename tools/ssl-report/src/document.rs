//! What a report consists of, before it is HTML or Markdown.

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
    /// Of each column.
    pub headings: Vec<String>,
    /// From this column on there are numbers.
    pub first_number: usize,
    /// As many cells as headings each.
    pub rows: Vec<Vec<String>>,
    /// Columns at the end that sum up the others.
    pub sums: usize,
    /// Whether it is so long that it is folded up at first.
    pub long: bool,
}

impl Table {
    /// Without rows.
    pub(crate) fn new(caption: impl Into<String>, headings: &[&str], first_number: usize) -> Self {
        let headings = headings.iter().map(|heading| (*heading).to_owned()).collect();
        Table { caption: caption.into(), headings, first_number, rows: Vec::new(), sums: 0, long: false }
    }
}

/// A drawing, of which a table nearby says the same in numbers.
pub struct Figure {
    /// What it is.
    pub title: String,
    /// What it shows, for those who do not see it.
    pub description: String,
    /// An `svg` element.
    pub svg: String,
    /// Its colours, as the style sheet counts them, and what they are.
    pub legend: Vec<(usize, String)>,
}
