//! What is printed of each image as soon as it is known: for people, or for programs as one list of JSON, as lines of JSON, or as a table
//! of CSV.

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use ssl_cli::printable;
use std::io::Write;

/// How results are printed.
#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// One list of JSON
    Json,
    /// A JSON object on a line of its own for each image
    Jsonl,
    /// A table of comma-separated values, with a row for each class or output of each image
    Csv,
}

#[derive(Serialize)]
pub(crate) struct Answer {
    pub(crate) image: String,
    #[serde(flatten)]
    pub(crate) found: Found,
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Found {
    Classes(Vec<Class>),
    Outputs(Vec<Tensor>),
    /// Why there is neither.
    Error(String),
}

#[derive(Serialize)]
pub(crate) struct Class {
    pub(crate) index: usize,
    pub(crate) label: Option<String>,
    pub(crate) probability: f32,
    /// What the network yields for the class: a logit, or the probability itself if it ends in Softmax.
    pub(crate) output: f32,
}

/// What an output holds.
#[derive(Serialize)]
pub(crate) struct Tensor {
    pub(crate) name: String,
    #[serde(rename = "type")]
    pub(crate) element_type: &'static str,
    pub(crate) shape: Vec<usize>,
    pub(crate) least: f32,
    pub(crate) greatest: f32,
    /// All elements, if they are few.
    pub(crate) elements: Option<Vec<f32>>,
}

/// The columns of CSV, which have the names that JSON has. A row has those of a class, of an output, or of an error.
const COLUMNS: [&str; 11] =
    ["image", "index", "label", "probability", "output", "name", "type", "shape", "least", "greatest", "error"];

/// Prints answers as they come. What was printed is whole whenever [`Answers::end`] is called.
pub(crate) struct Answers<W> {
    out: W,
    format: Format,
    /// Whether it is shown on a terminal, which obeys what it is shown.
    is_shown: bool,
    printed: usize,
}

impl<W: Write> Answers<W> {
    pub(crate) fn new(out: W, format: Format, is_shown: bool) -> Self {
        Answers { out, format, is_shown, printed: 0 }
    }

    pub(crate) fn print(&mut self, answer: &Answer) -> Result<()> {
        match self.format {
            Format::Text => self.text(answer)?,
            Format::Json => {
                write!(self.out, "{}", if self.printed == 0 { "[" } else { "," })?;
                for line in serde_json::to_string_pretty(answer)?.lines() {
                    write!(self.out, "\n  {line}")?;
                }
            }
            Format::Jsonl => writeln!(self.out, "{}", serde_json::to_string(answer)?)?,
            Format::Csv => self.csv(answer)?,
        }
        self.printed += 1;
        Ok(self.out.flush()?)
    }

    pub(crate) fn end(&mut self) -> Result<()> {
        if self.format == Format::Json && self.printed > 0 {
            writeln!(self.out, "\n]")?;
        }
        Ok(self.out.flush()?)
    }

    fn text(&mut self, Answer { image, found }: &Answer) -> Result<()> {
        let out = &mut self.out;
        let mut headed = |text: String| writeln!(out, "{}\n{text}", printable(image));
        match found {
            Found::Classes(classes) => {
                let class = |class: &Class| {
                    let label = class.label.as_deref().map_or_else(|| format!("class {}", class.index), printable);
                    format!("  {:6.2} %  {label}", class.probability * 100.0)
                };
                headed(classes.iter().map(class).collect::<Vec<_>>().join("\n"))?;
            }
            Found::Outputs(outputs) => {
                let output = |Tensor { name, element_type, shape, least, greatest, elements }: &Tensor| {
                    let all = elements.iter().flatten().map(f32::to_string).collect::<Vec<_>>().join(" ");
                    let holds = if elements.is_some() { all } else { format!("{least} to {greatest}") };
                    format!("  '{}' {element_type} {shape:?}: {holds}", printable(name))
                };
                headed(outputs.iter().map(output).collect::<Vec<_>>().join("\n"))?;
            }
            // Standard error has it.
            Found::Error(_) => {}
        }
        Ok(())
    }

    fn csv(&mut self, Answer { image, found }: &Answer) -> Result<()> {
        let mut out = csv::Writer::from_writer(&mut self.out);
        if self.printed == 0 {
            out.write_record(COLUMNS)?;
        }
        let is_shown = self.is_shown;
        let mut row = |cells: &[(&str, String)]| {
            let cell = |column: &str| cells.iter().find(|(name, _)| *name == column).map_or("", |(_, cell)| cell);
            // Programs join tables by names, which stay what they are.
            let shown = |text: &str| if is_shown { printable(text) } else { text.to_owned() };
            out.write_record(COLUMNS.iter().map(|column| shown(cell(column))))
        };
        let image = || ("image", image.clone());
        match found {
            Found::Classes(classes) => {
                for Class { index, label, probability, output } in classes {
                    let label = ("label", label.clone().unwrap_or_default());
                    let numbers = [("probability", probability.to_string()), ("output", output.to_string())];
                    row(&[&[image(), ("index", index.to_string()), label], &numbers[..]].concat())?;
                }
            }
            Found::Outputs(outputs) => {
                for Tensor { name, element_type, shape, least, greatest, .. } in outputs {
                    let shape = ("shape", shape.iter().map(usize::to_string).collect::<Vec<_>>().join("x"));
                    let numbers = [("least", least.to_string()), ("greatest", greatest.to_string())];
                    row(
                        &[&[image(), ("name", name.clone()), ("type", (*element_type).to_owned()), shape], &numbers[..]].concat()
                    )?;
                }
            }
            Found::Error(error) => row(&[image(), ("error", error.clone())])?,
        }
        Ok(out.flush()?)
    }
}
